//! The keys of a Redis as an operator may save and restore them.

use redis::Connection;
use twinlock_tests::redis::Server as Redis;

/// Keys with their values, and when they expire: in milliseconds, 0 for never.
pub struct Saved(Vec<(Vec<u8>, Vec<u8>, i64)>);

impl Saved {
    /// Saves all that a server has.
    pub fn of(redis: &Redis) -> Self {
        let mut connection = connection(redis);
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).expect("keys");
        let saved = keys.into_iter().map(|key| {
            let value = redis::cmd("DUMP").arg(&key).query(&mut connection).expect("a value");
            let left: i64 = redis::cmd("PTTL").arg(&key).query(&mut connection).expect("a time");
            (key, value, left.max(0))
        });
        Self(saved.collect())
    }

    /// Puts all of it back, over whatever is there.
    pub fn restore(&self, redis: &Redis) {
        let mut connection = connection(redis);
        for (key, value, left) in &self.0 {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(key).arg(left).arg(value).arg("REPLACE");
            restore.query::<()>(&mut connection).expect("restored");
        }
    }
}

/// How many keys a server has.
pub fn keys(redis: &Redis) -> i64 {
    redis::cmd("DBSIZE").query(&mut connection(redis)).expect("a number")
}

/// Whether a server has a user's record.
pub fn has(redis: &Redis, user: &str) -> bool {
    let pattern = format!("twinlock:*:{user}");
    let found: Vec<String> =
        redis::cmd("KEYS").arg(pattern).query(&mut connection(redis)).expect("keys");
    !found.is_empty()
}

fn connection(redis: &Redis) -> Connection {
    let client = redis::Client::open(redis.url()).expect("an address");
    client.get_connection().expect("a connection")
}
