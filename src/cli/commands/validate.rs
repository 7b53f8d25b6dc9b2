//! `bkpctl validate`: check a topology and report every mistake at once.

use std::path::Path;

use crate::cli::args::Validate;
use crate::cli::context::Context;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render;
use crate::cli::render::text::count;
use crate::cli::topology_files::FolderFiles;
use crate::config::Loaded;

/// Checks and reports; reaches no machine.
pub fn run(context: &Context, args: &Validate) -> Outcome {
    let loaded = check(&args.place.topology)?;
    let exit = if loaded.errors() == 0 {
        Exit::Ok
    } else {
        Exit::Error
    };
    if args.json {
        context.print_json(&render::Validation::new(loaded.diagnostics))?;
        return Ok(exit);
    }
    if !loaded.diagnostics.is_empty() {
        context.print(&report(context, &loaded));
    }
    if let Some(topology) = &loaded.topology {
        let sources = topology.sources.len() + topology.guests.len();
        context.print(&format!(
            "{} is valid: {}, {}, {}, {}",
            topology.name,
            count(topology.nodes.len(), "node", "nodes"),
            count(topology.datastores.len(), "datastore", "datastores"),
            count(sources, "source", "sources"),
            count(topology.jobs().count(), "job", "jobs"),
        ));
    }
    Ok(exit)
}

/// Draws everything that is wrong or doubtful.
pub fn report(context: &Context, loaded: &Loaded) -> String {
    render::diagnostics(
        &loaded.diagnostics,
        &loaded.sources,
        context.color,
        context.width,
    )
}

/// Where a topology is.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its folder, to read from.
    pub files: FolderFiles,
    /// Its root file in there.
    pub root: String,
    /// The folder's absolute path.
    pub folder: String,
}

/// Finds what a person named: a file, or a folder with `topology.kdl`.
pub fn find(path: &Path) -> Result<Place, Failure> {
    let (files, root) = FolderFiles::find(path).map_err(|error| {
        Failure::new(format!(
            "there is no topology at {}: {error}",
            path.display()
        ))
        .help("name a .kdl file or a folder with topology.kdl in it")
    })?;
    let folder = files.folder().to_str().map(str::to_owned).ok_or_else(|| {
        Failure::new(format!("the folder of {} is no UTF-8 path", path.display()))
    })?;
    Ok(Place {
        files,
        root,
        folder,
    })
}

/// Reads a topology from a file, or from a folder with `topology.kdl`.
pub fn check(path: &Path) -> Result<Loaded, Failure> {
    let mut place = find(path)?;
    Ok(crate::config::load(
        &place.root,
        &place.folder,
        &mut place.files,
    ))
}
