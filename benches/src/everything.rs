//! Everything that calls can be, for a program that takes a profile of itself: `service/build --profile`.

use crate::field::{Callers, EMBEDDED, Field, OVER_REDIS, OVER_REDIS_AS_JSON, OVER_REDIS_WITH_TLS};
use crate::work::Work;
use anyhow::{Result, ensure};
use std::time::Duration;

const ROUNDS: usize = 3;
const TURN: Duration = Duration::from_millis(300);
/// A user verifies once a step, and no more users are enrolled than that takes.
const USERS: usize = 400_000;
/// What over REST is there, too.
const VERIFY: [Work; 2] = [Work::Verify, Work::Refused];
const ALL: [Work; 8] = [
    Work::Verify,
    Work::Login,
    Work::Refused,
    Work::Blocked,
    Work::CheckElevation,
    Work::EvaluateLogin,
    Work::Elevate,
    Work::Day,
];

/// Calls in every way, with many calls in flight and with one.
pub async fn everything() -> Result<()> {
    let field = Field::in_every_way(USERS).await?;
    for round in 1..=ROUNDS {
        for server in [OVER_REDIS, EMBEDDED, OVER_REDIS_WITH_TLS, OVER_REDIS_AS_JSON] {
            let works: &[Work] = if server == OVER_REDIS_AS_JSON { &VERIFY } else { &ALL };
            for work in works {
                for callers in [Callers::MANY, Callers::ONE] {
                    let slice = field.load(server, *work, callers, TURN).await?;
                    ensure!(slice.unexpected == 0, "{server}: {work:?}: {:?}", slice.example);
                }
            }
        }
        eprint!("\rround {round} of {ROUNDS} ");
    }
    eprintln!();
    Ok(())
}
