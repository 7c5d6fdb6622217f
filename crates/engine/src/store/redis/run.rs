//! How a script reaches the server that has its keys, and what is done about each way to fail.

use super::fault::{self, Fault, Refusal};
use super::node::Node;
use super::scripts::Run;
use super::{MARGIN, Redis, unavailable};
use crate::deadline::Deadline;
use crate::store::StoreError;
use redis::{Cmd, Pipeline, Value, cmd};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// The most times that one access is sent.
const TURNS: u32 = 64;
/// How often a server may send a call elsewhere before the call pauses in between.
const REDIRECTIONS: u32 = 3;
/// The first pause before a server is asked again that could not answer yet; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The most of a call's time that a wait for replicas leaves for its answer: an idle server looks at what
/// has timed out ten times a second.
const LEFT_FOR_ANSWER: Duration = Duration::from_millis(150);

impl Redis {
    /// Runs a script where its keys are; where that is meanwhile elsewhere, there.
    pub(super) async fn run(
        &self,
        run: &Run,
        wait: bool,
        deadline: Deadline,
    ) -> Result<Ran, StoreError> {
        let until = deadline.earlier(MARGIN);
        let timeout = self.settings.connector.timeout;
        let mut patience = Patience { until, timeout, end: None };
        let mut elsewhere = None;
        let mut in_full = false;
        let mut redirections = 0;
        let mut pauses = 0;
        let mut cause = String::new();
        for _ in 0..TURNS {
            let mut limit = until;
            let mut pause = false;
            match self.turn(run, elsewhere.take(), in_full, wait, &mut patience, until).await {
                Turn::Ran(ran) => return Ok(ran),
                Turn::Refused(Refusal::NoScript, node) => {
                    in_full = true;
                    elsewhere = node;
                }
                Turn::Refused(Refusal::Moved(target), Some(node)) => {
                    redirections += 1;
                    pause = redirections > REDIRECTIONS;
                    if let Some(address) = node.address.redirected(&target) {
                        self.topology.moved(run.bucket, address);
                    }
                    self.refresh_meanwhile();
                    cause = "the Cluster is being laid out anew".into();
                }
                Turn::Refused(Refusal::Ask(target), Some(node)) => {
                    redirections += 1;
                    pause = redirections > REDIRECTIONS;
                    elsewhere = node.address.redirected(&target).map(|it| self.topology.node(it));
                    cause = "the Cluster is being laid out anew".into();
                }
                Turn::Refused(Refusal::Later(said), _) => {
                    (pause, cause) = (true, said);
                    self.refresh_meanwhile();
                }
                Turn::Refused(Refusal::Demoted(said), _) | Turn::NotSent(said, true) => {
                    (pause, limit, cause) = (true, patience.end(), said);
                    self.find_servers(limit, &mut cause).await;
                }
                Turn::NotSent(said, false) => {
                    (limit, cause) = (patience.end(), said);
                    self.find_servers(limit, &mut cause).await;
                }
                Turn::Lost(said) if run.changes_nothing() => {
                    // It was there until now: reaching it again is another matter.
                    patience.end = None;
                    cause = said;
                    self.find_servers(until, &mut cause).await;
                }
                Turn::Lost(said) => return Err(unavailable(said, true)),
                Turn::Refused(
                    Refusal::Final(said) | Refusal::Moved(said) | Refusal::Ask(said),
                    _,
                ) => {
                    return Err(unavailable(format!("the server says {said}"), false));
                }
            }
            if pause {
                let wait = FIRST_PAUSE.saturating_mul(1 << pauses.min(8)).min(LONGEST_PAUSE);
                pauses += 1;
                tokio::time::sleep(wait.min(limit.remaining())).await;
            }
            if limit.remaining().is_zero() {
                break;
            }
        }
        let cause = if cause.is_empty() { "it took too long".into() } else { cause };
        Err(unavailable(cause, false))
    }

    /// Sends a script once.
    async fn turn(
        &self,
        run: &Run,
        elsewhere: Option<Arc<Node>>,
        in_full: bool,
        wait: bool,
        patience: &mut Patience,
        until: Deadline,
    ) -> Turn {
        let asking = elsewhere.is_some();
        let Some(node) = elsewhere.or_else(|| self.topology.route(run.bucket)) else {
            return Turn::NotSent("no node of the Cluster serves the user's bucket".into(), true);
        };
        let command = if in_full { Cow::Owned(run.in_full()) } else { Cow::Borrowed(&run.by_name) };
        // What is rare is boxed, or every call would have room for it.
        let live = match node.connected() {
            Some(live) => live,
            None => match Box::pin(node.live(patience.end())).await {
                Ok(live) => live,
                Err(cause) => return Turn::NotSent(cause, false),
            },
        };
        let answered = if wait {
            let sending = self.send_and_wait(
                &node,
                live.tells_of_disks(),
                command.into_owned(),
                asking,
                until,
            );
            Box::pin(sending).await
        } else if asking {
            let answers =
                Box::pin(node.send_all(&live, &asking_first(command.into_owned()), until)).await;
            answers
                .map(|mut answers| Ran { answer: answers.pop().unwrap_or_default(), waited: None })
        } else {
            let answer = node.send(&live, &command, until).await;
            answer.map(|answer| Ran { answer, waited: None })
        };
        match answered {
            Ok(ran) => match fault::error_of(&ran.answer).map(fault::refusal) {
                None => Turn::Ran(ran),
                // Who was asked by name has to be asked so again.
                Some(Refusal::NoScript) => Turn::Refused(Refusal::NoScript, asking.then_some(node)),
                Some(refusal) => Turn::Refused(refusal, Some(node)),
            },
            Err(Fault::NotSent(cause)) => Turn::NotSent(cause, false),
            Err(Fault::Broken(cause) | Fault::Silent(cause)) => Turn::Lost(cause),
        }
    }

    /// Sends a script, and in the same piece the question who has taken what it wrote.
    async fn send_and_wait(
        &self,
        node: &Arc<Node>,
        tells_of_disks: bool,
        command: Cmd,
        asking: bool,
        until: Deadline,
    ) -> Result<Ran, Fault> {
        let mut commands = if asking { asking_first(command) } else { alone(command) };
        commands.add_command(self.wait(tells_of_disks, until));
        let mut answers = node.send_alone(&commands, until).await?;
        let waited = answers.pop();
        Ok(Ran { answer: answers.pop().unwrap_or_default(), waited })
    }

    pub(super) fn wait(&self, tells_of_disks: bool, until: Deadline) -> Cmd {
        let left = until.remaining();
        let wait = left - LEFT_FOR_ANSWER.min(left / 4);
        // 0 would be for ever.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = cmd(if tells_of_disks { "WAITAOF" } else { "WAIT" });
        if tells_of_disks {
            command.arg(1);
        }
        command.arg(self.replicas).arg(millis);
        command
    }

    /// Whether enough replicas have taken a write. Both commands answer at their time-out as they do at
    /// their success, with fewer.
    pub(super) fn confirmed(&self, waited: &Value) -> Result<(), String> {
        let (on_disk, replicas) = match waited {
            Value::Int(replicas) => (true, *replicas),
            Value::Array(counts) => match counts.as_slice() {
                [Value::Int(local), Value::Int(replicas)] => (*local > 0, *replicas),
                _ => return Err("the server did not say who has the change".into()),
            },
            Value::ServerError(error) => return Err(format!("the wait for replicas: {error}")),
            _ => return Err("the server did not say who has the change".into()),
        };
        if !on_disk {
            return Err("the change was not on the primary's disk in time".into());
        }
        if replicas < i64::from(self.replicas) {
            let wanted = self.replicas;
            return Err(format!("{replicas} of {wanted} replicas confirmed the change in time"));
        }
        Ok(())
    }

    /// Looks for the servers again; where that fails, its cause is the better one.
    async fn find_servers(&self, until: Deadline, cause: &mut String) {
        if let Err(why) = Box::pin(self.topology.refresh(until)).await {
            *cause = why;
        }
    }

    fn refresh_meanwhile(&self) {
        if !self.settings.is_cluster {
            return;
        }
        let (topology, timeout) = (self.topology.clone(), self.settings.connector.timeout);
        // Where it fails, the next call that is sent elsewhere tries again.
        tokio::spawn(async move { topology.refresh(Deadline::after(timeout)).await });
    }
}

/// What a script answered, and what the wait for replicas did.
pub(super) struct Ran {
    pub(super) answer: Value,
    pub(super) waited: Option<Value>,
}

/// Who cannot reach a server waits no longer than for its answer: a queue of callers helps nobody.
struct Patience {
    until: Deadline,
    timeout: Duration,
    /// It is set when a server is first out of reach, since every other access would look at the clock for nothing.
    end: Option<Deadline>,
}

impl Patience {
    fn end(&mut self) -> Deadline {
        *self.end.get_or_insert_with(|| self.until.within(self.timeout))
    }
}

/// How it ended that a script was sent once.
enum Turn {
    Ran(Ran),
    /// The server did not execute it; with the server.
    Refused(Refusal, Option<Arc<Node>>),
    /// It never left; and whether nothing was even waited for.
    NotSent(String, bool),
    /// It was sent and not answered.
    Lost(String),
}

fn alone(command: Cmd) -> Pipeline {
    let mut commands = Pipeline::new();
    commands.add_command(command);
    commands
}

/// A node takes keys that are on their way to it only from who says so just before.
fn asking_first(command: Cmd) -> Pipeline {
    let mut commands = alone(cmd("ASKING"));
    commands.add_command(command);
    commands
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;

    #[test]
    fn a_wait_that_timed_out_is_no_confirmation() {
        let counts = |local, replicas| Value::Array(vec![Value::Int(local), Value::Int(replicas)]);
        let store = store(2, false);
        for enough in [Value::Int(2), Value::Int(3), counts(1, 2)] {
            assert_eq!(store.confirmed(&enough), Ok(()), "{enough:?}");
        }
        for few in
            [Value::Int(1), Value::Int(0), counts(1, 1), counts(0, 2), Value::Nil, Value::Okay]
        {
            assert!(store.confirmed(&few).is_err(), "{few:?}");
        }
    }

    #[test]
    fn a_wait_is_never_for_ever() {
        let store = store(1, false);
        let packed = store.wait(false, Deadline::after(Duration::ZERO)).get_packed_command();
        assert_eq!(packed, b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n1\r\n");
    }
}
