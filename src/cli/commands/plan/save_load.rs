//! Saved plans: refused when they are of another format.

use std::path::Path;

use crate::cli::documents::{self, unreadable};
use crate::cli::exit::Failure;
use crate::plan::saved::{SAVED_PLAN_FORMAT, SavedPlan};

/// Reads a saved plan; `None` if the file is no plan but, say, a topology.
pub fn read(file: &Path) -> Result<Option<SavedPlan>, Failure> {
    let failed = |why: String| unreadable(file, why);
    let bytes = documents::read(file)?;
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(None);
    }
    let value = serde_json::from_slice::<serde_json::Value>(&bytes)
        .map_err(|e| failed(format!("it is neither a topology nor a whole plan: {e}")))?;
    let is_saved = value.get("plan").is_some();
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    match format {
        Some(_) if !is_saved => Err(failed("it is no plan that was saved".to_owned())
            .help("bkpctl plan -o FILE saves one; what --json prints is for other programs")),
        Some(format) if format == u64::from(SAVED_PLAN_FORMAT) => serde_json::from_value(value)
            .map(Some)
            .map_err(|e| failed(format!("it is no plan that this version wrote: {e}"))),
        Some(format) => Err(failed(format!(
            "it is a plan of format {format}, this version knows {SAVED_PLAN_FORMAT}"
        ))
        .help("make a new plan with this version")),
        None => Err(failed(
            "it is neither a topology nor a saved plan".to_owned(),
        )),
    }
}
