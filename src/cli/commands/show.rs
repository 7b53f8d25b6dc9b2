//! `bkpctl show`: read a saved plan, and reach no machine.

use crate::cli::args;
use crate::cli::commands::plan::save_load;
use crate::cli::context::{Context, now};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render;

/// Shows a saved plan, and says if it is not whole.
pub fn run(context: &Context, args: &args::Show) -> Outcome {
    let Some(saved) = save_load::read(&args.plan)? else {
        return Err(
            Failure::new(format!("{} is no saved plan", args.plan.display()))
                .help("bkpctl plan -o FILE saves one"),
        );
    };
    if args.json {
        context.print_json(&saved)?;
    } else if args.md {
        context.print(&render::render_markdown(&saved.plan));
    } else {
        context.print(&render::plan::render_saved(&saved, now()));
        context.print(&render::plan::render(
            &saved.plan,
            &context.style(args.detail),
        ));
    }
    let problems = saved.lint();
    if problems.is_empty() {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(format!(
        "{} would not be carried out: {}",
        args.plan.display(),
        problems.join("; ")
    ))
    .help("make a new plan: bkpctl plan -o FILE"))
}
