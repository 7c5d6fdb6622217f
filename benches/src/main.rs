//! What Twinlock costs beside the least servers that could do the same, and beside what teams write themselves:
//! `benches/run`.

mod certificate;
mod client;
mod compare;
mod everything;
mod field;
mod floor;
mod footprint;
mod json;
mod load;
mod local;
mod open;
mod peers;
mod people;
mod process;
mod scale;
mod table;
mod usage;
mod work;

use anyhow::{Result, bail};
use compare::Length;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["floor", kind, runtime, port, place] = arguments.as_slice() {
        return floor::serve(kind, runtime, port.parse()?, place);
    }
    // The load client has one thread, so that it leaves the servers as much of the machine as it can.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let as_expected = runtime.block_on(async {
        match arguments.as_slice() {
            [] => compare(Length::FULL).await,
            ["--quick"] => compare(Length::QUICK).await,
            ["--only", text] => compare::compare(Length::FULL, text).await,
            ["--open"] => open::open().await,
            ["--soak"] => open::soak("").await,
            ["--soak", text] => open::soak(text).await,
            ["--scale"] => scale::scale().await,
            ["--peers"] => peers::peers().await,
            // For service/build: it measures nothing.
            ["--everything"] => everything::everything().await.map(|()| true),
            _ => bail!("run it as benches/run says"),
        }
    })?;
    if !as_expected {
        bail!("some answers were not the expected ones: see the tables");
    }
    Ok(())
}

async fn compare(length: Length) -> Result<bool> {
    let as_expected = compare::compare(length, "").await?;
    local::local()?;
    footprint::footprint(length.starts).await?;
    Ok(as_expected)
}
