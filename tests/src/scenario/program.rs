//! Generated clients in other languages. One program of each language makes the calls of all scenarios: it is
//! told them on its input, a line each, and answers on its output. `tests/clients/go/main.go` has the form of
//! the lines.

use super::{Refusal, Runner, api, grpc};
use crate::{Server, unconfigure};
use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tonic::Code;

/// The longest that a call may take; each has a deadline of its own in the program.
const PATIENCE: Duration = Duration::from_secs(60);

/// A language that has a program.
pub trait Language: Clone + Send + Sync + 'static {
    /// The name of its client.
    const NAME: &str;

    /// Starts the program.
    fn command() -> Command;
}

/// Go, with protoc-gen-go-grpc.
#[derive(Clone)]
pub struct Go;

impl Language for Go {
    const NAME: &str = "go";

    fn command() -> Command {
        Command::new(clients().join("go/client"))
    }
}

/// Java, with grpc-java.
#[derive(Clone)]
pub struct Java;

impl Language for Java {
    const NAME: &str = "java";

    fn command() -> Command {
        let generated = clients().join("../../examples/java/target");
        let generated = generated.display();
        let mut command = Command::new("java");
        command.args(["-cp", &format!("{generated}/shop.jar:{generated}/lib/*")]);
        command.arg(clients().join("java/Client.java"));
        command
    }
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The client of a language, and the server that it calls.
#[derive(Clone)]
pub struct Program<L> {
    process: Arc<Process>,
    address: String,
    language: PhantomData<L>,
}

impl<L: Language> Runner for Program<L> {
    const NAME: &str = L::NAME;

    async fn connect(server: &Server) -> Result<Self> {
        let program = Self {
            process: Process::of::<L>()?,
            address: server.authority().into(),
            language: PhantomData,
        };
        // The first calls of a program take long, which is no matter of the scenario; whether somebody may ask
        // is none either.
        let nobody = Map::from_iter([("userId".to_owned(), "nobody".into())]);
        let _ = program.call("DescribeUser", None, nobody).await?;
        Ok(program)
    }

    async fn call(
        &self,
        name: &str,
        token: Option<&str>,
        fields: Map<String, Value>,
    ) -> Result<Result<Value, Refusal>> {
        let method = api::method(name)?;
        let request = BASE64.encode(&api::encode(&method, fields)?);
        let call = [&self.address, token.unwrap_or_default(), name, &request].join("\t");
        let end = self.process.call(&call).await?;
        let fields: Vec<&str> = end.split('\t').collect();
        match fields[..] {
            ["answer", answer] => Ok(Ok(api::decode(&method, &BASE64.decode(answer.as_bytes())?)?)),
            ["refused", code, reason, millis, names, message] => Ok(Err(Refusal {
                code: grpc::code_name(Code::from(code.parse::<i32>()?)),
                reason: reason.into(),
                message: message.into(),
                retry_after: match millis {
                    "" => None,
                    millis => Some(Duration::from_millis(millis.parse()?)),
                },
                fields: names.split(',').filter(|name| !name.is_empty()).map(Into::into).collect(),
            })),
            _ => bail!("{} says {end:?}", L::NAME),
        }
    }
}

/// A running program. It ends when its input does, with this process.
struct Process {
    input: Mutex<ChildStdin>,
    calls: Arc<Mutex<Calls>>,
}

/// Calls that have not ended yet.
#[derive(Default)]
struct Calls {
    last: u64,
    open: HashMap<u64, oneshot::Sender<String>>,
}

static RUNNING: Mutex<Vec<(&str, Arc<Process>)>> = Mutex::new(Vec::new());

impl Process {
    /// The one program of a language.
    fn of<L: Language>() -> Result<Arc<Self>> {
        let mut running = RUNNING.lock().expect("nothing panics here");
        if let Some((_, process)) = running.iter().find(|(name, _)| *name == L::NAME) {
            return Ok(process.clone());
        }
        let process = Arc::new(Self::start(L::command())?);
        running.push((L::NAME, process.clone()));
        Ok(process)
    }

    fn start(mut command: Command) -> Result<Self> {
        unconfigure(&mut command);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.with_context(|| format!("{command:?}; run tests/clients/run"))?;
        let input = Mutex::new(child.stdin.take().context("a pipe")?);
        let output = BufReader::new(child.stdout.take().context("a pipe")?);
        let calls = Arc::new(Mutex::new(Calls::default()));
        let waiting = calls.clone();
        std::thread::spawn(move || {
            deliver(output, &waiting);
            // Whoever still waits is told so, by the end of the channel.
            waiting.lock().expect("nothing panics here").open.clear();
        });
        Ok(Self { input, calls })
    }

    async fn call(&self, call: &str) -> Result<String> {
        ensure!(!call.contains('\n'), "a call is one line");
        let (sender, end) = oneshot::channel();
        let id = {
            let mut calls = self.calls.lock().expect("nothing panics here");
            calls.last += 1;
            let id = calls.last;
            calls.open.insert(id, sender);
            id
        };
        let line = format!("{id}\t{call}\n");
        self.input.lock().expect("nothing panics here").write_all(line.as_bytes())?;
        tokio::time::timeout(PATIENCE, end).await?.context("the program ended")
    }
}

fn deliver(output: BufReader<ChildStdout>, calls: &Mutex<Calls>) {
    for line in output.lines() {
        let Ok(line) = line else { return };
        let (id, end) = line.split_once('\t').unwrap_or_default();
        let Ok(id) = id.parse() else { return };
        let call = calls.lock().expect("nothing panics here").open.remove(&id);
        if let Some(call) = call {
            // Whoever waited may be gone.
            let _ = call.send(end.into());
        }
    }
}
