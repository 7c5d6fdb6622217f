//! The faults that tests choose from.

use super::{Arrival, Direction, End, FaultProxy, Flow, Which};
use fastrand::Rng;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Requests vanish.
    LostRequests,
    /// Answers vanish: what they answer was executed.
    LostAnswers,
    /// Requests arrive late.
    LateRequests,
    /// Answers arrive late.
    LateAnswers,
    /// Connections end in the midst of a request.
    CutRequests,
    /// Connections end in the midst of an answer.
    CutAnswers,
    /// Connections are gone, and new ones are accepted and never answered.
    HalfOpen,
    /// Connections stay, and nobody reads what is sent.
    Stalled,
    /// New connections are reset at once.
    ResetOnArrival,
    /// Nobody listens.
    Refused,
    /// The requests of the present connections arrive after those of later ones.
    Overtaken,
    /// The answers to the present connections arrive after those to later ones.
    OvertakenAnswers,
    /// Requests arrive byte by byte.
    DrippingRequests,
    /// Answers arrive byte by byte.
    DrippingAnswers,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::LostRequests,
        Self::LostAnswers,
        Self::LateRequests,
        Self::LateAnswers,
        Self::CutRequests,
        Self::CutAnswers,
        Self::HalfOpen,
        Self::Stalled,
        Self::ResetOnArrival,
        Self::Refused,
        Self::Overtaken,
        Self::OvertakenAnswers,
        Self::DrippingRequests,
        Self::DrippingAnswers,
    ];

    /// Inflicts it, until [`FaultProxy::heal`]. How late and how much is by chance.
    pub fn inflict(self, proxy: &FaultProxy, rng: &mut Rng) {
        use Direction::{Answers, Requests};
        let late = Flow::Delay(Duration::from_millis(rng.u64(20..400)));
        let dripping = Flow::Drip(Duration::from_millis(rng.u64(1..4)));
        let end = if rng.bool() { End::Close } else { End::Reset };
        // From a piece of one answer to more than a whole conversation.
        let most = 1 << rng.u32(1..18);
        let cut = Flow::Cut { after: rng.usize(0..most), end };
        let all_gone = |arrival| {
            proxy.receive(arrival);
            proxy.inflict(Which::Present, Answers, Flow::Cut { after: 0, end });
        };
        match self {
            Self::LostRequests => proxy.inflict(Which::All, Requests, Flow::Vanish),
            Self::LostAnswers => proxy.inflict(Which::All, Answers, Flow::Vanish),
            Self::LateRequests => proxy.inflict(Which::All, Requests, late),
            Self::LateAnswers => proxy.inflict(Which::All, Answers, late),
            Self::CutRequests => proxy.inflict(Which::All, Requests, cut),
            Self::CutAnswers => proxy.inflict(Which::All, Answers, cut),
            Self::HalfOpen => all_gone(Arrival::Ignored),
            Self::Stalled => {
                proxy.inflict(Which::All, Requests, Flow::Stall);
                proxy.inflict(Which::All, Answers, Flow::Stall);
            }
            Self::ResetOnArrival => all_gone(Arrival::Reset),
            Self::Refused => all_gone(Arrival::Refused),
            Self::Overtaken => proxy.inflict(Which::Present, Requests, Flow::Hold),
            Self::OvertakenAnswers => proxy.inflict(Which::Present, Answers, Flow::Hold),
            Self::DrippingRequests => proxy.inflict(Which::All, Requests, dripping),
            Self::DrippingAnswers => proxy.inflict(Which::All, Answers, dripping),
        }
    }
}

/// Makes choices that a second run repeats with `TWINLOCK_TEST_SEED` (not their timing).
pub fn seeded() -> Rng {
    let given = std::env::var("TWINLOCK_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_be_bytes(twinlock_engine::entropy::bytes()));
    println!("TWINLOCK_TEST_SEED={seed}");
    Rng::with_seed(seed)
}
