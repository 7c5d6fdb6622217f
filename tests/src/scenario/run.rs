//! Runs a scenario through an interface.

use super::value::{self, Values};
use super::{Action, Call, End, Outcome, Reasons, Scenario, Step, Wait};
use crate::{Server, now};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// An interface of the server.
pub trait Runner: Clone + Send + Sync + Sized + 'static {
    /// Its name.
    const NAME: &str;

    /// How much of a scenario it can do.
    fn reach(_scenario: &Scenario) -> Reach {
        Reach::Whole
    }

    /// Connects to a server.
    fn connect(server: &Server) -> impl Future<Output = Result<Self>> + Send;

    /// Calls a method with the fields of its request.
    ///
    /// The outer error is for an interface that breaks its own promises, such as a failure without a
    /// reason.
    fn call(
        &self,
        method: &str,
        token: Option<&str>,
        request: Map<String, Value>,
    ) -> impl Future<Output = Result<Result<Value, Refusal>>> + Send;
}

/// How much of a scenario an interface can do.
pub enum Reach {
    /// All of it.
    Whole,
    /// Not all of it; what it lacks, in words. The calls that it lacks go through gRPC.
    Part(String),
    /// Nothing that would show it; what it lacks, in words.
    None(String),
}

/// A call that was refused, as the interface told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The name of the gRPC code.
    pub code: String,
    /// The reason.
    pub reason: String,
    /// The message.
    pub message: String,
    /// How long it says to wait.
    pub retry_after: Option<Duration>,
    /// The fields that it names, by their proto names.
    pub fields: Vec<String>,
}

impl Refusal {
    /// Checks that it says what the table of reasons says that it must, and nothing else.
    pub fn check(&self) -> Result<()> {
        let expected = Reasons::read()?.find(&self.reason)?;
        ensure!(expected.grpc == self.code, "the code is not {}: {self:?}", expected.grpc);
        ensure!(
            expected.has_retry_after == self.retry_after.is_some(),
            "whether it says how long to wait is not as in the table: {self:?}"
        );
        ensure!(
            self.fields.len() == usize::from(expected.names_field),
            "whether it names a field is not as in the table: {self:?}"
        );
        ensure!(self.message.ends_with('.'), "its message is no sentence: {self:?}");
        Ok(())
    }
}

/// A scenario that is being run.
pub struct Life<R> {
    server: Option<Arc<Server>>,
    runner: R,
    values: Values,
    last_retry_after: Option<Duration>,
}

impl<R: Runner> Life<R> {
    /// Runs a scenario. The error says which step went wrong, what was expected and what came.
    pub async fn run(scenario: &Scenario, server: Arc<Server>) -> Result<()> {
        let runner = R::connect(&server).await?;
        let mut values = Values::default();
        // Two interfaces may run a scenario on one server at the same time.
        let user = format!("{}-{}-{}", scenario.name, R::NAME, now().as_millis());
        values.set("user", &user);
        let mut life = Self { server: Some(server), runner, values, last_retry_after: None };
        for step in &scenario.steps {
            life.step(step).await.with_context(|| step.place.clone())?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        match &step.action {
            Action::Wait(wait) => {
                let wait = match wait {
                    Wait::For(duration) => *duration,
                    Wait::RetryAfter => self.last_retry_after.context("nothing said how long")?,
                };
                tokio::time::sleep(wait).await;
            }
            Action::Restart => {
                let server = self.server.take().and_then(Arc::into_inner);
                let server = server.context("others use this server")?;
                let server = tokio::task::spawn_blocking(|| server.restart()).await?;
                self.runner = R::connect(&server).await?;
                self.server = Some(Arc::new(server));
            }
            Action::Let(variables) => {
                for (name, value) in variables {
                    let value = self.values.resolve(value)?;
                    self.values.set(name, value.as_str().context("a variable is a text")?);
                }
                tokio::time::sleep(self.values.wait()).await;
            }
            Action::Call(call) => {
                self.call(call).await.with_context(|| call.method.clone())?;
            }
        }
        Ok(())
    }

    async fn call(&mut self, call: &Call) -> Result<()> {
        let request = self.values.resolve_all(&call.request)?;
        let outcomes = self.outcomes(call);
        tokio::time::sleep(self.values.wait()).await;
        let ends = self.ends(call, &request).await?;
        let mut counts = vec![0; outcomes.len()];
        for end in &ends {
            let differences: Vec<_> =
                outcomes.iter().map(|outcome| difference(&outcome.end, end)).collect();
            match differences.iter().position(Option::is_none) {
                Some(index) => counts[index] += 1,
                None => bail!(
                    "{}\ncame: {}",
                    differences.into_iter().flatten().collect::<Vec<_>>().join("\nor "),
                    show(end)
                ),
            }
        }
        for (outcome, count) in outcomes.iter().zip(counts) {
            ensure!(
                outcome.count == count,
                "expected {} of {} calls to end as {}, but {count} did",
                outcome.count,
                call.count,
                outcome.end
            );
        }
        for (name, path) in &call.save {
            let Some(Ok(answer)) = ends.last() else { bail!("there is no answer to save from") };
            let found = path.split('.').try_fold(answer, |value, field| value.get(field));
            let found = found.and_then(Value::as_str).filter(|text| !text.is_empty());
            self.values.set(name, found.with_context(|| format!("no text at {path}"))?);
        }
        if let Some(Err(Refusal { retry_after: Some(wait), .. })) = ends.last() {
            self.last_retry_after = Some(*wait);
        }
        Ok(())
    }

    fn outcomes(&self, call: &Call) -> Vec<Outcome> {
        let mut outcomes = call.outcomes.clone();
        for outcome in &mut outcomes {
            if let End::Answer(fields) = &mut outcome.end {
                *fields = map_texts(fields, &|text| self.values.text(text));
            }
        }
        outcomes
    }

    async fn ends(
        &self,
        call: &Call,
        request: &Map<String, Value>,
    ) -> Result<Vec<Result<Value, Refusal>>> {
        let one = |n: usize| {
            let (runner, method, token) =
                (self.runner.clone(), call.method.clone(), call.token.clone());
            let request = if call.count > 1 { numbered(request, n) } else { request.clone() };
            async move { runner.call(&method, token.as_deref(), request).await }
        };
        let mut ends = Vec::new();
        if call.parallel {
            let mut calls: JoinSet<_> = (1..=call.count).map(one).collect();
            while let Some(end) = calls.join_next().await {
                ends.push(checked(end??)?);
            }
        } else {
            for n in 1..=call.count {
                ends.push(checked(one(n).await?)?);
            }
        }
        Ok(ends)
    }
}

fn checked(end: Result<Value, Refusal>) -> Result<Result<Value, Refusal>> {
    if let Err(refusal) = &end {
        refusal.check()?;
    }
    Ok(end)
}

fn difference(expected: &End, end: &Result<Value, Refusal>) -> Option<String> {
    match (expected, end) {
        (End::Answer(fields), Ok(answer)) => {
            value::difference(fields, answer).map(|difference| format!("expected: {difference}"))
        }
        (End::Answer(_), Err(_)) | (End::Refused { .. }, Ok(_)) => {
            Some(format!("expected: {expected}"))
        }
        (End::Refused { reason, field, retry_after: (least, most) }, Err(refusal)) => {
            let is_field = field.as_ref().is_none_or(|field| refusal.fields.contains(field));
            let wait = refusal.retry_after.unwrap_or_default();
            let is_right = refusal.reason == *reason && is_field;
            let is_right = is_right && *least <= wait && wait <= *most;
            (!is_right).then(|| format!("expected: {expected}"))
        }
    }
}

fn show(end: &Result<Value, Refusal>) -> String {
    match end {
        Ok(answer) => format!("OK {answer}"),
        Err(refusal) => format!("{refusal:?}"),
    }
}

fn numbered(fields: &Map<String, Value>, n: usize) -> Map<String, Value> {
    map_texts(fields, &|text| text.replace("${n}", &n.to_string()))
}

fn map_texts(fields: &Map<String, Value>, map: &impl Fn(&str) -> String) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (name.clone(), map_text(value, map))).collect()
}

fn map_text(value: &Value, map: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => map(text).into(),
        Value::Array(values) => values.iter().map(|value| map_text(value, map)).collect(),
        Value::Object(fields) => Value::Object(map_texts(fields, map)),
        other => other.clone(),
    }
}
