//! Saved plans: written whole or not at all, refused when they are of another format.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::plan::Plan;
use crate::plan::change::PLAN_FORMAT;
use crate::run::node::replace_file;

/// The largest saved plan that is read.
const PLAN_LEN_MAX: u64 = 256 << 20;

/// Writes a plan to a file, replacing it in one step.
pub fn write(file: &Path, plan: &Plan) -> Result<(), Failure> {
    let json = serde_json::to_vec_pretty(plan)
        .map_err(|error| Failure::new(format!("failed to write the plan: {error}")))?;
    replace_file(file, &json, 0o600)
        .map_err(|error| Failure::new(format!("failed to write {}: {error}", file.display())))
}

/// Reads a saved plan; `None` if the file is no plan but, say, a topology.
pub fn read(file: &Path) -> Result<Option<Plan>, Failure> {
    let failed = |why: String| Failure::new(format!("failed to read {}: {why}", file.display()));
    let length = std::fs::metadata(file)
        .map_err(|e| failed(e.to_string()))?
        .len();
    if length > PLAN_LEN_MAX {
        return Err(failed(
            "it is too large for a plan or a topology".to_owned(),
        ));
    }
    let bytes = std::fs::read(file).map_err(|e| failed(e.to_string()))?;
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(None);
    }
    let format = serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .and_then(|value| value.get("format").and_then(serde_json::Value::as_u64));
    match format {
        Some(format) if format == u64::from(PLAN_FORMAT) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| failed(format!("it is no plan that this version wrote: {e}"))),
        Some(format) => Err(failed(format!(
            "it is a plan of format {format}, this version knows {PLAN_FORMAT}"
        ))
        .help("make a new plan with this version")),
        None => Err(failed(
            "it is neither a topology nor a saved plan".to_owned(),
        )),
    }
}
