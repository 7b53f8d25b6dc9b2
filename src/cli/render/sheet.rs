//! The recovery sheet: what somebody needs who has nothing else left.

use std::path::Path;

use crate::cli::render::text::escape;
use crate::engine::crypto::{ReadingKey, RecoveryCode};
use crate::model::Topology;
use crate::model::topology::DatastoreKind;
use zeroize::Zeroizing;

/// Draws the sheet of a key, to be printed and kept away from the machines.
pub fn render(topology: &Topology, name: &str, key: &ReadingKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line("RECOVERY SHEET · keep on paper, away from the machines it is for");
    line("");
    line(&format!(
        "Topology    {} ({})",
        topology.name, topology.id.0
    ));
    line(&format!("Key         {name}, domain {}", key.domain()));
    line("");
    line("Recovery code (the whole key: whoever has it can read every backup)");
    line("");
    line(&format!("    {}", RecoveryCode::print(key).as_str()));
    line("");
    line("Datastores that this key opens");
    for (datastore, declared) in &topology.datastores {
        if declared.key != *name {
            continue;
        }
        match &declared.kind {
            DatastoreKind::Directory { places } => {
                for place in places {
                    line(&format!(
                        "    {datastore}: {} on {}",
                        place.path, place.node
                    ));
                }
            }
            DatastoreKind::S3(s3) => {
                line(&format!(
                    "    {datastore}: {} bucket {}",
                    s3.endpoint, s3.bucket
                ));
            }
        }
    }
    line("");
    how_to_read(&mut line, "DATASTORE");
    text
}

/// Draws the sheet of the key that opens one repository.
pub fn for_store(store: &Path, key: &ReadingKey) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line("RECOVERY SHEET · keep on paper, away from the machines it is for");
    line("");
    line(&format!(
        "Repository  {}",
        escape(&store.display().to_string())
    ));
    line(&format!("Key         domain {}", key.domain()));
    line("");
    line("Recovery code (the whole key: whoever has it can read every backup)");
    line("");
    line(&format!("    {}", RecoveryCode::print(key).as_str()));
    line("");
    how_to_read(&mut line, "STORE");
    text
}

fn how_to_read(line: &mut impl FnMut(&str), place: &str) {
    line("To read a backup with nothing but this sheet, put the code into a file and run");
    line("    bkpctl key recover CODE-FILE KEY-FILE");
    line(&format!(
        "    bkpctl store snapshots {place} --key-file KEY-FILE"
    ));
    line(&format!(
        "    bkpctl store restore {place} latest TARGET --key-file KEY-FILE"
    ));
}
