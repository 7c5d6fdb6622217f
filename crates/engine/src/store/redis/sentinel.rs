//! Which server is the primary, by the sentinels' word.

use super::address::Address;
use super::connection::{Connection, Connector};
use super::fault::Fault;
use super::server::pairs;
use crate::deadline::Deadline;
use redis::{Value, cmd};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long the other sentinels have once one has answered.
const PATIENCE: Duration = Duration::from_millis(250);

/// Asks all sentinels and believes the one that knows of the latest failover: one that was cut off from
/// the others still names the primary of before.
pub(super) async fn primary(
    connector: &Arc<Connector>,
    sentinels: &[Address],
    name: &str,
    until: Deadline,
) -> Result<Address, String> {
    let until = until.within(connector.timeout);
    let mut asked = JoinSet::new();
    for sentinel in sentinels {
        let (connector, sentinel, name) = (connector.clone(), sentinel.clone(), name.to_owned());
        asked.spawn(async move { ask(&connector, &sentinel, &name, until).await });
    }
    let mut latest: Option<(u64, Address)> = None;
    let mut cause = "there is no sentinel to ask".to_owned();
    let mut limit = until;
    while let Ok(Some(answer)) = limit.limit(asked.join_next()).await {
        match answer {
            Ok(Ok((epoch, address))) => {
                limit = limit.within(PATIENCE);
                if latest.as_ref().is_none_or(|(known, _)| epoch > *known) {
                    latest = Some((epoch, address));
                }
            }
            Ok(Err(why)) => cause = why,
            Err(error) => cause = error.to_string(),
        }
    }
    latest.map(|(_, address)| address).ok_or(cause)
}

async fn ask(
    connector: &Connector,
    sentinel: &Address,
    name: &str,
    until: Deadline,
) -> Result<(u64, Address), String> {
    let mut question = cmd("SENTINEL");
    question.arg("MASTER").arg(name);
    let said = |connection: Connection| {
        let question = &question;
        async move { connection.send(question, until).await.map_err(Fault::into_cause) }
    };
    let mut answer = said(connector.connect_anonymously(sentinel, until).await?).await?;
    if matches!(&answer, Value::ServerError(error) if error.code() == "NOAUTH") {
        answer = said(connector.connect(sentinel, until).await?).await?;
    }
    if let Value::ServerError(error) = answer {
        return Err(format!("the sentinel {sentinel} says {error}"));
    }
    let fields = pairs(&answer);
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let epoch = field("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    let port = field("port").and_then(|port| port.parse().ok());
    match (field("ip"), port) {
        (Some(host), Some(port)) => Ok((epoch, sentinel.beside(host, port))),
        _ => Err(format!("the sentinel {sentinel} does not say where {name} is")),
    }
}
