//! Where the commands print and ask.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::Failure;

/// Results go to standard output, for people as text and for scripts as JSON. Questions and notes go
/// to standard error, so that they never mix with results.
pub(super) struct Console {
    json: bool,
    interactive: bool,
}

impl Console {
    pub(super) fn new(json: bool) -> Self {
        Self { json, interactive: io::stdin().is_terminal() }
    }

    /// Whether a person is there who can be asked again.
    pub(super) fn is_conversation(&self) -> bool {
        self.interactive && !self.json
    }

    /// A result for people.
    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if !self.json {
            writeln!(io::stdout(), "{text}")?;
        }
        Ok(())
    }

    /// A remark for people that is no result.
    pub(super) fn note(&self, text: &str) -> Result<(), Failure> {
        if !self.json {
            writeln!(io::stderr(), "{text}")?;
        }
        Ok(())
    }

    /// A result for scripts.
    pub(super) fn emit(&self, object: &Value) -> Result<(), Failure> {
        if self.json {
            let mut output = io::stdout();
            writeln!(output, "{object}")?;
            output.flush()?;
        }
        Ok(())
    }

    /// Prints a failure. One that cannot be printed has nowhere else to go.
    pub(super) fn report(&self, failure: &Failure) {
        let _ = match self.json {
            true => self.emit(&failure.json()),
            false => self.note(&failure.advice()),
        };
    }

    /// Asks for a line that may be seen while it is typed. Where nobody is there to be asked, the
    /// next line of standard input is the answer.
    pub(super) async fn ask(&self, question: &str) -> Result<Zeroizing<String>, Failure> {
        if self.interactive {
            write!(io::stderr(), "{question} ")?;
        }
        blocking(|| {
            let mut line = Zeroizing::new(String::new());
            io::stdin().lock().read_line(&mut line)?;
            Ok(line)
        })
        .await
        .and_then(answer)
    }

    /// Asks for a line that is not to be seen.
    pub(super) async fn ask_hidden(&self, question: &str) -> Result<Zeroizing<String>, Failure> {
        if !self.interactive {
            return self.ask(question).await;
        }
        let question = format!("{question} ");
        blocking(move || {
            let mut line = Zeroizing::new(rpassword::prompt_password(question)?);
            line.push('\n');
            Ok(line)
        })
        .await
        .and_then(answer)
    }

    /// Asks for a yes. Where nobody is there, it is a no.
    pub(super) async fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !self.is_conversation() {
            return Ok(false);
        }
        write!(io::stderr(), "{question} [y/N] ")?;
        let line = blocking(|| {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            Ok(line)
        })
        .await?;
        Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Goes on only where it is meant: `yes` says so ahead, else a person is asked.
    pub(super) async fn require(&self, yes: bool, question: &str) -> Result<(), Failure> {
        if yes || self.confirm(question).await? {
            return Ok(());
        }
        Err(Failure::Usage("Nothing was changed. Say --yes to do it without being asked.".into()))
    }

    /// Waits, with a countdown where somebody watches.
    pub(super) async fn wait(&self, duration: Duration) -> Result<(), Failure> {
        let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        if seconds > 0 && !io::stderr().is_terminal() {
            self.note(&format!("Waiting {seconds} s."))?;
            sleep(duration).await;
            return Ok(());
        }
        for left in (1..=seconds).rev() {
            write!(io::stderr(), "\rAnother attempt is possible in {left} s. ")?;
            sleep(Duration::from_secs(1)).await;
        }
        if seconds > 0 {
            // Clears the line (ECMA-48 section 8.3.41, erase in line).
            write!(io::stderr(), "\r\u{1b}[K")?;
        }
        Ok(())
    }
}

/// Reading blocks, and the connection must stay alive meanwhile.
async fn blocking<Answer: Send + 'static>(
    read: impl FnOnce() -> io::Result<Answer> + Send + 'static,
) -> Result<Answer, Failure> {
    let answer = tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?;
    Ok(answer?)
}

fn answer(mut line: Zeroizing<String>) -> Result<Zeroizing<String>, Failure> {
    if line.is_empty() {
        return Err(Failure::Usage("The input ended before the answer came.".into()));
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() {
        return Err(Failure::Usage("Nothing was typed.".into()));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> Result<String, String> {
        answer(Zeroizing::new(line.into()))
            .map(|answer| answer.to_string())
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_end_of_the_line_is_not_part_of_the_answer_and_blanks_are() {
        assert_eq!(answered("373416\n").unwrap(), "373416");
        assert_eq!(answered("373416\r\n").unwrap(), "373416");
        assert_eq!(answered("373416").unwrap(), "373416");
        assert_eq!(answered(" pass word \n").unwrap(), " pass word ");
    }

    #[test]
    fn nothing_is_no_answer() {
        assert!(answered("").unwrap_err().contains("ended"));
        assert!(answered("\n").unwrap_err().contains("Nothing"));
    }
}
