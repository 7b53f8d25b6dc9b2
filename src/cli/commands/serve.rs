//! `bkpctl serve` and `bkpctl agent`: the processes that bkpctl starts on nodes.

use crate::cli::args::Serve;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::run::message::Fault;
use crate::run::serve::{Service, serve};
use crate::run::store_call::Allowed;

/// Serves a datastore on standard input and output until the other end hangs up.
pub fn run(args: &Serve) -> Outcome {
    let owner = args.owner.as_deref().map(parse_owner).transpose()?;
    let reserve = args.reserve.as_deref().map(str::parse).transpose();
    let mounted = args.mounted.as_deref().map(str::parse).transpose();
    let service = Service {
        datastore: args.datastore.clone(),
        owner,
        allowed: Allowed::parse(&args.allow).map_err(failure)?,
        reserve: reserve.map_err(|e| Failure::new(format!("--reserve: {e}")))?,
        mounted: mounted.map_err(|e| Failure::new(format!("--mounted: {e}")))?,
        create: args.create,
    };
    serve(&service).map_err(failure)?;
    Ok(Exit::Ok)
}

/// Works for a controller until it hangs up.
pub fn agent() -> Outcome {
    crate::run::agent::agent().map_err(failure)?;
    Ok(Exit::Ok)
}

fn parse_owner(text: &str) -> Result<(u32, u32), Failure> {
    let ids = text
        .split_once(':')
        .and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
    ids.ok_or_else(|| Failure::new(format!("--owner {text:?} is not UID:GID, such as 34:34")))
}

fn failure(fault: Fault) -> Failure {
    Failure::new(fault.message)
}
