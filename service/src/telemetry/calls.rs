//! Calls, counted and timed by their method, transport and outcome.
//!
//! Every combination has its place in one table, so that a call costs a look at the clock and two atomics, and
//! no path that somebody makes up can make it grow.

use super::traces::{Trace, Traced};
use http::HeaderMap;
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;
use tonic::Code;
use twinlock_core::Reason;
use twinlock_engine::metrics::Histogram;
use twinlock_proto::{METHODS, code_name};

/// What REST alone has.
const OF_REST: &str = "OpenApi";
/// What stands for every method that there is not.
pub const UNKNOWN: &str = "unknown";
/// The codes of gRPC, 0 to 16.
const CODES: usize = 17;
const OUTCOMES: usize = CODES + Reason::ALL.len();

/// How many calls there were, and how long they took.
#[derive(Debug)]
pub struct Calls {
    /// In the order of the alphabet.
    methods: Vec<&'static str>,
    /// For each method and transport, all outcomes, once it is called: most never are.
    places: Vec<OnceLock<Box<[Histogram; OUTCOMES]>>>,
}

/// How a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// gRPC.
    Grpc,
    /// JSON over HTTP.
    Rest,
}

/// How a call ended: with a reason of the API, or where there is none with a code of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Refused or failed for a reason.
    Reason(Reason),
    /// Anything else, success as [`Code::Ok`].
    Code(Code),
}

/// A call that is under way. One that is dropped was given up by its client, or cut off.
#[derive(Debug)]
pub struct Pending {
    calls: Arc<Calls>,
    place: usize,
    begun: Instant,
    trace: Trace,
    is_over: bool,
}

impl Transport {
    const ALL: [Self; 2] = [Self::Grpc, Self::Rest];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Rest => "rest",
        }
    }
}

impl Outcome {
    /// Success.
    pub const OK: Self = Self::Code(Code::Ok);

    /// The outcome of a call of gRPC, by the head of its answer. A stream has begun where that is success.
    pub fn of_grpc(headers: &HeaderMap) -> Self {
        let Some(status) = headers.get("grpc-status") else { return Self::OK };
        let reason = headers.get("twinlock-reason").and_then(|reason| {
            Reason::ALL.iter().find(|known| reason.as_bytes() == known.as_str().as_bytes())
        });
        reason
            .map_or_else(|| Self::Code(Code::from_bytes(status.as_bytes())), |it| Self::Reason(*it))
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.as_str(),
            Self::Code(code) => code_name(code),
        }
    }

    /// Whether the server is at fault, and not what was asked.
    pub const fn is_fault(self) -> bool {
        match self {
            Self::Reason(reason) => matches!(
                reason,
                Reason::Overloaded
                    | Reason::StoreUnavailable
                    | Reason::StoreIncomplete
                    | Reason::SecretUnreadable
            ),
            Self::Code(code) => matches!(
                code,
                Code::Unknown
                    | Code::DeadlineExceeded
                    | Code::Internal
                    | Code::Unavailable
                    | Code::DataLoss
            ),
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Code(code) => code as usize,
            Self::Reason(reason) => CODES + reason as usize,
        }
    }

    fn at(place: usize) -> Self {
        match place.checked_sub(CODES).and_then(|place| Reason::ALL.get(place)) {
            Some(reason) => Self::Reason(*reason),
            None => Self::Code(Code::from_i32(i32::try_from(place).unwrap_or(-1))),
        }
    }
}

impl Calls {
    /// Begins to time a call and to trace it. A method that there is not counts as [`UNKNOWN`].
    pub fn begin(
        self: &Arc<Self>,
        transport: Transport,
        method: &str,
        headers: &HeaderMap,
    ) -> Pending {
        let index = self.index(method);
        let trace = Trace::begin(self.methods[index], transport.as_str(), headers);
        let place = index * Transport::ALL.len() + transport as usize;
        Pending { calls: self.clone(), place, begun: Instant::now(), trace, is_over: false }
    }

    /// Method, transport, outcome, and how long it took, of all that was called so far.
    pub fn rows(&self) -> impl Iterator<Item = ([&str; 3], &Histogram)> {
        self.methods.iter().enumerate().flat_map(move |(index, method)| {
            Transport::ALL.into_iter().flat_map(move |transport| {
                let places = self.places[index * Transport::ALL.len() + transport as usize].get();
                places.into_iter().flat_map(|it| it.iter()).enumerate().map(move |(place, took)| {
                    ([*method, transport.as_str(), Outcome::at(place).as_str()], took)
                })
            })
        })
    }

    fn index(&self, method: &str) -> usize {
        let find = |name: &str| self.methods.binary_search(&name);
        find(method).or_else(|_| find(UNKNOWN)).unwrap_or_default()
    }
}

impl Default for Calls {
    fn default() -> Self {
        let mut methods = [METHODS, &[OF_REST, UNKNOWN]].concat();
        methods.sort_unstable();
        let places = methods.len() * Transport::ALL.len();
        Self { methods, places: std::iter::repeat_with(OnceLock::new).take(places).collect() }
    }
}

impl Pending {
    /// When the call began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Begins the call's work, which its trace is to tell of.
    pub fn work<F: Future>(&self, begin: impl FnOnce() -> F) -> Traced<F> {
        self.trace.work(begin)
    }

    /// The call has ended.
    pub fn end(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    fn record(&mut self, outcome: Outcome) {
        self.is_over = true;
        let places = self.calls.places[self.place]
            .get_or_init(|| Box::new(std::array::from_fn(|_| Histogram::default())));
        places[outcome.place()].record(self.begun.elapsed());
        self.trace.end(outcome.as_str(), outcome.is_fault());
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_over {
            self.record(Outcome::Code(Code::Cancelled));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(calls: &Calls) -> Vec<[&str; 3]> {
        let rows = calls.rows().filter(|(_, took)| took.read().count > 0);
        rows.map(|(labels, _)| labels).collect()
    }

    #[test]
    fn every_outcome_has_a_place_and_a_word_of_its_own() {
        let outcomes: Vec<Outcome> = (0..OUTCOMES).map(Outcome::at).collect();
        let mut words: Vec<_> = outcomes.iter().map(|outcome| outcome.as_str()).collect();
        for (place, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.place(), place, "{outcome:?}");
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), OUTCOMES);
    }

    #[test]
    fn no_two_services_have_a_method_of_one_name() {
        let mut names = Calls::default().methods;
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(count > 20 && names.contains(&"Verify"), "{names:?}");
    }

    #[test]
    fn a_call_counts_once_and_one_that_is_dropped_as_cancelled() {
        let calls = Arc::new(Calls::default());
        let none = HeaderMap::new();
        calls.begin(Transport::Grpc, "Verify", &none).end(Outcome::OK);
        calls.begin(Transport::Rest, "Verify", &none).end(Outcome::Reason(Reason::Backoff));
        drop(calls.begin(Transport::Grpc, "Enroll", &none));
        calls.begin(Transport::Grpc, "alice@example.com", &none).end(Outcome::OK);
        assert_eq!(
            counted(&calls),
            [
                ["Enroll", "grpc", "CANCELLED"],
                ["Verify", "grpc", "OK"],
                ["Verify", "rest", "BACKOFF"],
                ["unknown", "grpc", "OK"],
            ]
        );
        assert_eq!(calls.rows().map(|(_, took)| took.read().count).sum::<u64>(), 4);
    }

    #[test]
    fn the_head_of_an_answer_says_how_the_call_ended() {
        let head = |status: &'static str, reason: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().expect("a header"));
            if let Some(reason) = reason {
                headers.insert("twinlock-reason", reason.parse().expect("a header"));
            }
            Outcome::of_grpc(&headers)
        };
        assert_eq!(Outcome::of_grpc(&HeaderMap::new()), Outcome::OK);
        assert_eq!(head("0", None), Outcome::OK);
        assert_eq!(head("16", Some("INVALID_CODE")), Outcome::Reason(Reason::InvalidCode));
        assert_eq!(head("12", None), Outcome::Code(Code::Unimplemented));
        assert_eq!(head("13", Some("made up")), Outcome::Code(Code::Internal));
    }
}
