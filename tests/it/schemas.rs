//! The schemas in `schemas/` are the ones that the binary carries and that its output fits.

use std::path::Path;

use bkpctl::cli::commands::schema;

/// Writes the schemas anew when this variable is set, instead of comparing.
const UPDATE: &str = "BKPCTL_UPDATE";

#[test]
fn the_schemas_in_the_project_are_the_ones_in_the_binary() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, _) in schema::NAMES {
        let text = schema::text(name).expect("every listed schema exists");
        let file = folder.join(format!("{name}.json"));
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&file, &text).expect("a written schema");
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            kept,
            text,
            "{} is stale; run the tests with {UPDATE}=1",
            file.display()
        );
    }
}
