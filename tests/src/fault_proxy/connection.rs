//! One connection through the proxy.

use super::{Direction, End, Flow};
use std::collections::VecDeque;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The most that is read in one piece.
const PIECE: usize = 16 * 1024;

/// What switches the faults of a connection, by direction.
pub(super) struct Connection([watch::Sender<Flow>; 2]);

/// The faults of a connection, by direction.
pub(super) type Flows = [watch::Receiver<Flow>; 2];

impl Connection {
    pub(super) fn new(flows: [Flow; 2]) -> (Self, Flows) {
        let [(requests, of_requests), (answers, of_answers)] = flows.map(watch::channel);
        (Self([requests, answers]), [of_requests, of_answers])
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.iter().any(|flow| !flow.is_closed())
    }

    pub(super) fn set(&self, direction: Direction, flow: Flow) {
        self.0[direction as usize].send_replace(flow);
    }
}

/// Carries bytes both ways until both ways have ended, or the connection is cut.
pub(super) async fn carry(mut client: TcpStream, mut server: TcpStream, flows: Flows) {
    // Without these, small pieces wait for each other, which is a fault that nobody asked for.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let [of_requests, of_answers] = flows;
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            Pump::new(from_client, to_server, of_requests).run(),
            Pump::new(from_server, to_client, of_answers).run(),
        )
    };
    if ended == Err(End::Reset) {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// One direction of a connection.
struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    flow: watch::Receiver<Flow>,
    /// What was read and has not been passed on.
    held: Vec<u8>,
    /// When each piece of it was read, and how long the piece is.
    pieces: VecDeque<(Instant, usize)>,
    /// Whether the sender has ended.
    is_over: bool,
    /// How many bytes have passed under the present fault.
    passed: usize,
    /// When the next drop falls.
    next_drop: Instant,
}

impl<'a> Pump<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, flow: watch::Receiver<Flow>) -> Self {
        let (held, pieces) = Default::default();
        Self { from, to, flow, held, pieces, is_over: false, passed: 0, next_drop: Instant::now() }
    }

    /// Ends with an error where the connection is to be cut.
    async fn run(mut self) -> Result<(), End> {
        loop {
            let flow = *self.flow.borrow_and_update();
            let mut wake = None;
            match flow {
                Flow::Pass => self.pass(self.held.len()).await,
                Flow::Vanish if !self.held.is_empty() || self.is_over => {
                    return self.vanish().await;
                }
                Flow::Vanish | Flow::Hold | Flow::Stall => {}
                Flow::Delay(pause) => {
                    while let Some((read, length)) = self.pieces.front().copied() {
                        if Instant::now() < read + pause {
                            wake = Some(read + pause);
                            break;
                        }
                        self.pass(length).await;
                    }
                }
                Flow::Drip(pause) => {
                    if Instant::now() >= self.next_drop {
                        self.pass(self.held.len().min(1)).await;
                        self.next_drop = Instant::now() + pause;
                    }
                    wake = (!self.held.is_empty()).then_some(self.next_drop);
                }
                Flow::Cut { after, end } => {
                    let left = after.saturating_sub(self.passed);
                    self.pass(left.min(self.held.len())).await;
                    if self.passed >= after {
                        return Err(end);
                    }
                }
            }
            let passes = !matches!(flow, Flow::Hold | Flow::Vanish | Flow::Stall);
            if self.is_over && self.held.is_empty() && passes {
                // Whoever is gone already needs not to be told.
                let _ = self.to.shutdown().await;
                return Ok(());
            }
            if self.wait(wake, flow != Flow::Stall).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Waits for more bytes, for another fault, or for a time; fails when the proxy is gone.
    async fn wait(
        &mut self,
        wake: Option<Instant>,
        reads: bool,
    ) -> Result<(), watch::error::RecvError> {
        let before = self.held.len();
        self.held.reserve(PIECE);
        tokio::select! {
            changed = self.flow.changed() => {
                self.passed = 0;
                return changed;
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            read = self.from.read_buf(&mut self.held), if reads && !self.is_over => {
                // However it ended, there is nothing more to come.
                self.is_over = !read.is_ok_and(|count| count > 0);
                self.pieces.push_back((Instant::now(), self.held.len() - before));
            }
        }
        Ok(())
    }

    /// Passes on the first bytes of those that are held.
    async fn pass(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let some: Vec<u8> = self.held.drain(..count).collect();
        self.passed += count;
        let mut left = count;
        while let Some((_, length)) = self.pieces.front_mut() {
            let taken = left.min(*length);
            (left, *length) = (left - taken, *length - taken);
            if *length > 0 {
                break;
            }
            self.pieces.pop_front();
        }
        // A receiver that is gone takes nothing more; the other direction sees its end by itself.
        let _ = self.to.write_all(&some).await;
    }

    /// Reads on and passes nothing, for good.
    async fn vanish(&mut self) -> Result<(), End> {
        let mut nowhere = [0; PIECE];
        while !self.is_over {
            self.is_over = !self.from.read(&mut nowhere).await.is_ok_and(|count| count > 0);
        }
        // Not even the end of it arrives.
        while self.flow.changed().await.is_ok() {}
        Ok(())
    }
}
