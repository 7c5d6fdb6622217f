//! Which node of a Cluster has which slot, by the word of one of them.

use super::address::Address;
use super::connection::Connector;
use super::fault::Fault;
use super::keys::Bucket;
use super::server::text;
use super::topology::Table;
use crate::deadline::Deadline;
use crate::entropy;
use redis::{Cmd, Value, cmd};

/// The primary of each bucket. The nodes that are connected are asked first, then the others that are
/// known, then the addresses of the configuration; the first that answers is believed, for a wrong answer
/// is mended by the next `MOVED`.
pub(super) async fn owners(
    connector: &Connector,
    table: &Table,
    seeds: &[Address],
    until: Deadline,
) -> Result<Vec<Option<Address>>, String> {
    let mut question = cmd("CLUSTER");
    question.arg("SLOTS");
    let mut cause = "there is no node to ask".to_owned();
    // Who begins differs, so that one that hangs does not hold up every try.
    let [chance] = entropy::bytes();
    let (first, last) = table.nodes.split_at(usize::from(chance) % table.nodes.len().max(1));
    for node in last.iter().chain(first) {
        let Some(live) = node.connected() else { continue };
        match live.connection().send(&question, until.within(connector.timeout)).await {
            Ok(answer) => match read(&answer, &node.address) {
                Ok(owners) => return Ok(owners),
                Err(why) => cause = why,
            },
            Err(fault) => cause = fault.into_cause(),
        }
    }
    let known = table.nodes.iter().filter(|node| node.connected().is_none());
    for address in known.map(|node| &node.address).chain(seeds) {
        match ask(connector, address, &question, until).await {
            Ok(owners) => return Ok(owners),
            Err(why) => cause = why,
        }
    }
    Err(cause)
}

async fn ask(
    connector: &Connector,
    address: &Address,
    question: &Cmd,
    until: Deadline,
) -> Result<Vec<Option<Address>>, String> {
    let connection = connector.connect(address, until).await?;
    let limit = until.within(connector.timeout);
    let answer = connection.send(question, limit).await.map_err(Fault::into_cause)?;
    read(&answer, address)
}

/// Reads the answer of `CLUSTER SLOTS`: ranges of slots, each with its first and last slot, its primary
/// and its replicas; a node begins with its address and port.
fn read(answer: &Value, asked: &Address) -> Result<Vec<Option<Address>>, String> {
    let ranges = match answer {
        Value::Array(ranges) => ranges,
        Value::ServerError(error) => {
            let remedy =
                if error.details().is_some_and(|it| it.contains("cluster support disabled")) {
                    ": it is no node of a Cluster; set store.redis.mode to standalone or sentinel"
                } else {
                    ""
                };
            return Err(format!("{asked} says {error}{remedy}"));
        }
        _ => return Err(format!("{asked} does not say who has which slot")),
    };
    let mut owned = Vec::new();
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice()
        else {
            continue;
        };
        let [host, Value::Int(port), ..] = primary.as_slice() else { continue };
        // A node that does not know its own address leaves it out.
        let Ok(port) = u16::try_from(*port) else { continue };
        owned.push((*first..=*last, asked.beside(&text(host), port)));
    }
    let owner = |bucket: Bucket| {
        let slot = i64::from(bucket.slot());
        owned.iter().find(|(range, _)| range.contains(&slot)).map(|(_, address)| address.clone())
    };
    Ok(Bucket::all().map(owner).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Address {
        Address::parse("rediss://asked:7000").expect("an address")
    }

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), bulk("id")]);
        let replica = node(bulk("replica"), 1);
        Value::Array(vec![Value::Int(first), Value::Int(last), node(host, port), replica])
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn every_bucket_is_its_slots_primarys() {
        let answer = Value::Array(vec![
            range(0, 8191, bulk("one"), 7001),
            range(8192, 16000, Value::Nil, 7002),
            range(16001, 16100, bulk("?"), 7003),
        ]);
        let owners = read(&answer, &asked()).expect("owners");
        for (bucket, owner) in Bucket::all().zip(owners) {
            let expected = match bucket.slot() {
                0..=8191 => Some(asked().beside("one", 7001)),
                8192..=16000 => Some(asked().beside("asked", 7002)),
                16001..=16100 => Some(asked().beside("asked", 7003)),
                _ => None,
            };
            assert_eq!(owner, expected, "slot {}", bucket.slot());
        }
    }

    #[test]
    fn a_server_without_a_cluster_says_what_to_set() {
        let error =
            redis::parse_redis_value(b"-ERR This instance has cluster support disabled\r\n");
        let refused = read(&error.expect("an answer"), &asked()).expect_err("no Cluster");
        assert!(refused.contains("standalone or sentinel"), "{refused}");
        assert!(read(&Value::Okay, &asked()).is_err());
    }
}
