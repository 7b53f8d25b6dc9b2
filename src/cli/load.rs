//! From a path on the command line to a checked topology.

use std::path::Path;

use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::cli::render;
use crate::cli::topology_files::FolderFiles;
use crate::config::Loaded;
use crate::model::Topology;

/// Loads a topology or reports every mistake in it at once.
pub fn load(context: &Context, path: &Path) -> Result<Topology, Failure> {
    let loaded = check(path)?;
    match loaded.topology {
        Some(topology) => Ok(topology),
        None => Err(Failure::new(format!(
            "the topology has mistakes, so nothing was done:\n\n{}",
            report(context, &loaded)
        ))),
    }
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
