//! Laws that every part of a plan obeys, over topologies and states made up by dice.

use std::collections::{BTreeMap, BTreeSet};

use bkpctl::cli::render::{Style, render, render_markdown};
use bkpctl::model::observed::NodeState;
use bkpctl::model::topology::Content;
use bkpctl::model::{Address, Name, Observed, Topology};
use bkpctl::plan::change::{Action, PhaseState, Step};
use bkpctl::plan::readiness::{Readiness, readiness};
use bkpctl::plan::selection::{Asked, Selection, Unclear};
use bkpctl::plan::{Plan, lint, plan, plan_of, plan_part, simulate};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::plan_laws::{NOW, world};

/// Which words are asked for: an option, and which of the words that mean something.
type Words = Vec<(u8, Index)>;

fn words() -> impl Strategy<Value = Words> {
    proptest::collection::vec((0_u8..6, any::<Index>()), 1..4)
}

/// Returns everything that somebody may name, nodes first.
fn known(whole: &Plan) -> Vec<String> {
    let topology = &whole.topology;
    let of = |kind: &str, name: &Name| Address::new(kind, name).to_string();
    let mut known: Vec<String> = Vec::new();
    known.extend(topology.nodes.keys().map(|name| of("node", name)));
    known.extend(topology.shares.keys().map(|name| of("share", name)));
    known.extend(topology.datastores.keys().map(|name| of("datastore", name)));
    known.extend(topology.sources.keys().map(|name| of("source", name)));
    for (phase, job) in topology.jobs() {
        known.push(of(job.work.kind(), &job.name));
        known.push(of("phase", &phase.name));
    }
    known.extend(
        whole
            .actions
            .iter()
            .map(|action| action.address.to_string()),
    );
    known
}

fn asked(whole: &Plan, words: &Words) -> Asked {
    let known = known(whole);
    let nodes: Vec<&Name> = whole.topology.nodes.keys().collect();
    let mut asked = Asked::default();
    for (option, word) in words {
        match option {
            0..=2 => asked.targets.push(word.get(&known).clone()),
            3 | 4 => asked.exclude.push(word.get(&known).clone()),
            _ => asked.nodes.push(word.get(&nodes).to_string()),
        }
    }
    asked
}

/// Plans the whole and the part that some words choose; none where they choose none.
fn whole_and_part(
    topology: &Topology,
    observed: &Observed,
    words: &Words,
) -> Option<(Plan, Plan, Selection)> {
    let whole = plan(topology, observed, NOW);
    let asked = asked(&whole, words);
    match plan_part(&whole, observed, &asked) {
        Ok(part) => {
            let selection = part.part.as_ref().expect("it says what it is of");
            let selection = selection.selection.clone();
            Some((whole, part, selection))
        }
        Err(Unclear::Unknown { option, word, .. }) => panic!("{option} {word} is known"),
        Err(Unclear::Both { .. } | Unclear::NothingLeft { .. }) => None,
    }
}

/// What an action is and where, for one source where it carries several.
type Unit<'a> = (String, &'a Name, Option<&'a Name>);

fn units(action: &Action) -> Vec<Unit<'_>> {
    let of = |source| (action.label(), &action.node, source);
    match &action.step {
        Step::Sync { sources, .. } => sources.iter().map(|source| of(Some(source))).collect(),
        _ => vec![of(None)],
    }
}

fn all_units(actions: &[Action]) -> BTreeSet<Unit<'_>> {
    actions.iter().flat_map(units).collect()
}

fn labels<'a>(actions: impl IntoIterator<Item = &'a Action>) -> BTreeSet<String> {
    let changes = actions.into_iter().filter(|action| !lists(action));
    changes.map(Action::label).collect()
}

/// Tells whether an action only lists what others do.
fn lists(action: &Action) -> bool {
    matches!(action.step, Step::Register { .. })
}

fn sources(action: &Action) -> Vec<&Name> {
    match &action.step {
        Step::Copy { source, .. } | Step::Drill { source, .. } => vec![source],
        Step::Sync { sources, .. } => sources.iter().collect(),
        _ => Vec::new(),
    }
}

fn datastores(action: &Action) -> Vec<&Name> {
    match &action.step {
        Step::Copy { datastore, .. }
        | Step::MakeRepository { datastore }
        | Step::WriteManaged { datastore, .. }
        | Step::Mount { datastore, .. } => vec![datastore],
        Step::Sync { from, to, .. } => vec![from, to],
        Step::Drill { from, .. } => vec![from],
        _ if action.address.kind() == "datastore" => vec![action.address.name()],
        _ => Vec::new(),
    }
}

/// Tells whether an action has to do with something, going by what it does.
fn touches(topology: &Topology, action: &Action, address: &Address) -> bool {
    let name = address.name();
    match address.kind() {
        "node" => {
            let read = |source: &Name| topology.sources[source].on == *name;
            let copied = matches!(action.step, Step::Copy { .. });
            let serves = |store: &&Name| {
                let store = topology.datastores.get(*store);
                let place = store.and_then(|store| store.first_place());
                place.is_some_and(|place| place.node == *name)
            };
            action.node == *name
                || (copied && sources(action).into_iter().any(read))
                || datastores(action).iter().any(serves)
        }
        "source" => sources(action).contains(&name),
        "datastore" => datastores(action).contains(&name),
        "share" => {
            let lies = |store: &&Name| topology.share_of(store).is_some_and(|(of, _)| of == name);
            action.address == *address || datastores(action).iter().any(lies)
        }
        _ => action.address == *address,
    }
}

/// Carries plans out until nothing is left to do, the first one being a part or the whole, and
/// returns the state with the phases that are complete.
fn carried_out(topology: &Topology, observed: &Observed, first: &Plan) -> (Observed, Vec<Name>) {
    let mut after = simulate(observed, first);
    for _ in 0..=topology.phases.len() + 2 {
        after = simulate(&after, &plan(topology, &after, NOW));
    }
    let phases = plan(topology, &after, NOW).phases.into_iter();
    let complete = phases.filter(|phase| phase.state == PhaseState::Complete);
    let complete = complete.map(|phase| phase.name).collect();
    // In which order independent things happened is nobody's matter.
    for state in after.nodes.values_mut() {
        let NodeState::Reached(facts) = state else {
            continue;
        };
        for store in facts.datastores.values_mut() {
            // A phase is complete by its own record or by that of a later one.
            if let Some(managed) = &mut store.managed {
                (managed.phases, managed.generation) = (BTreeMap::new(), 0);
            }
            store.proofs.sort_by_key(|proof| format!("{proof:?}"));
            for heads in store.snapshots.values_mut() {
                heads.sort_by_key(|head| format!("{head:?}"));
            }
        }
        if let Some(nfs) = &mut facts.nfs {
            nfs.exports.sort_by_key(|export| format!("{export:?}"));
        }
    }
    (after, complete)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_is_a_subset_of_the_whole_and_closed_under_what_it_needs(
        (topology, observed) in world(),
        words in words(),
    ) {
        let Some((whole, part, selection)) = whole_and_part(&topology, &observed, &words) else {
            return Ok(());
        };
        let known = lint(&whole);
        let problems: Vec<String> = lint(&part).into_iter().filter(|p| !known.contains(p)).collect();
        prop_assert_eq!(problems, Vec::<String>::new());
        let again = plan_of(&whole, &observed, &selection);
        prop_assert_eq!(serde_json::to_vec(&again).expect("JSON"), serde_json::to_vec(&part).expect("JSON"));
        let (of_whole, of_part) = (all_units(&whole.actions), all_units(&part.actions));
        let more: Vec<_> = of_part.difference(&of_whole).collect();
        // A registry of a part may list what the whole changes for no other reason.
        prop_assert!(more.iter().all(|(label, ..)| label.starts_with("registry ")), "{more:?}");
        for action in part.actions.iter().filter(|action| !lists(action)) {
            let mine = units(action);
            let same = whole.actions.iter().find(|other| {
                let others = units(other);
                mine.iter().all(|unit| others.contains(unit))
            });
            let carried = sources(action);
            for needed in same.into_iter().flat_map(|same| &same.after) {
                let needed = &whole.actions[*needed];
                let of_others = matches!(action.step, Step::Sync { .. })
                    && sources(needed).iter().any(|source| !carried.contains(source));
                let is_there = labels(&part.actions).contains(&needed.label());
                prop_assert!(
                    is_there || of_others,
                    "{} without {}", action.label(), needed.label()
                );
            }
        }
        // What is in neither was left out, and is told.
        let told = part.left_out();
        let missing = of_whole.difference(&of_part).map(|(label, ..)| label).collect::<BTreeSet<_>>();
        prop_assert!(missing.is_empty() == (told == 0), "{told} for {missing:?}");
    }

    #[test]
    fn nothing_that_stands_on_what_is_excluded_is_in_a_part(
        (topology, observed) in world(),
        words in words(),
    ) {
        let Some((whole, part, selection)) = whole_and_part(&topology, &observed, &words) else {
            return Ok(());
        };
        let there = all_units(&part.actions);
        for excluded in &selection.exclude {
            for action in part.actions.iter().filter(|action| !lists(action)) {
                prop_assert!(
                    !touches(&topology, action, excluded),
                    "{} has to do with {excluded}", action.label()
                );
            }
        }
        let left = |action: &Action| units(action).iter().all(|unit| !there.contains(unit));
        for action in part.actions.iter().filter(|action| !lists(action)) {
            let same = whole.actions.iter().filter(|other| other.label() == action.label());
            for needed in same.flat_map(|same| &same.after).map(|id| &whole.actions[*id]) {
                let of_others = matches!(action.step, Step::Sync { .. })
                    && sources(needed).iter().any(|source| !sources(action).contains(source));
                prop_assert!(!left(needed) || of_others, "{} needs {}", action.label(), needed.label());
            }
        }
    }

    #[test]
    fn a_target_is_in_its_part_with_everything_that_is_called_so(
        (topology, observed) in world(),
        word in any::<Index>(),
    ) {
        let whole = plan(&topology, &observed, NOW);
        let known = known(&whole);
        let word = word.get(&known);
        let asked = Asked { targets: vec![word.clone()], ..Asked::default() };
        let part = plan_part(&whole, &observed, &asked).expect("a word that is known");
        let address: Address = word.parse().expect("an address");
        let there = all_units(&part.actions);
        for action in whole.actions.iter().filter(|action| action.address == address) {
            for unit in units(action).iter().filter(|_| !lists(action)) {
                prop_assert!(there.contains(unit), "{unit:?} is not in {word}");
            }
        }
    }

    #[test]
    fn a_part_and_then_the_rest_come_to_the_same_as_the_whole(
        (topology, observed) in world(),
        words in words(),
    ) {
        let Some((whole, part, _)) = whole_and_part(&topology, &observed, &words) else {
            return Ok(());
        };
        let by_parts = carried_out(&topology, &observed, &part);
        let at_once = carried_out(&topology, &observed, &whole);
        let lines = |state: &(Observed, Vec<Name>)| serde_json::to_string_pretty(state).expect("JSON");
        let (by_parts, at_once) = (lines(&by_parts), lines(&at_once));
        let diff = similar::TextDiff::from_lines(&by_parts, &at_once);
        let diff = diff.unified_diff().to_string();
        prop_assert!(diff.is_empty(), "{diff}");
    }

    #[test]
    fn a_plan_after_a_part_has_only_the_rest(
        (topology, observed) in world(),
        words in words(),
    ) {
        let Some((whole, part, selection)) = whole_and_part(&topology, &observed, &words) else {
            return Ok(());
        };
        let after = simulate(&observed, &part);
        let rest = plan(&topology, &after, NOW);
        let done: BTreeSet<_> = part
            .pending()
            .filter(|action| !lists(action))
            .flat_map(units)
            .collect();
        // What opens once all is done may open before it.
        let next = plan(&topology, &simulate(&observed, &whole), NOW);
        let (of_whole, of_next) = (all_units(&whole.actions), all_units(&next.actions));
        for unit in all_units(&rest.actions) {
            if unit.0.starts_with("registry ") {
                continue;
            }
            let is_rest = of_whole.contains(&unit) && !done.contains(&unit);
            prop_assert!(is_rest || of_next.contains(&unit), "{unit:?} is new");
        }
        // The same part has nothing left to do but what opened.
        let again = plan_of(&plan(&topology, &after, NOW), &after, &selection);
        for unit in again.pending().filter(|action| !lists(action)).flat_map(units) {
            prop_assert!(!done.contains(&unit) || of_next.contains(&unit), "{unit:?} is done twice");
        }
    }

    #[test]
    fn a_part_asks_for_and_promises_nothing_that_it_does_not_do(
        (topology, observed) in world(),
        words in words(),
    ) {
        let Some((whole, part, _)) = whole_and_part(&topology, &observed, &words) else {
            return Ok(());
        };
        for finding in part.findings.iter().filter(|finding| finding.fixed_by_plan) {
            let mends = |action: &&Action| {
                action.address == finding.address || action.address.kind() == "share"
            };
            prop_assert!(part.actions.iter().any(|action| mends(&action)), "{finding:?}");
        }
        let of_whole: BTreeSet<_> = whole.actions.iter().filter_map(|a| a.gate.as_ref()).collect();
        prop_assert!(part.gates().is_subset(&of_whole));
        // A program is written down as allowed only with the copy that asks for it.
        for action in &part.actions {
            let Step::Register { registry } = &action.step else { continue };
            let facts = observed.reached(action.node.as_str());
            let before = facts.and_then(|facts| facts.state.registry.as_ref());
            for (address, words) in registry.objects.iter().filter(|(a, _)| a.kind() == "source") {
                let is_old = before.is_some_and(|before| before.objects.get(address) == Some(words));
                let is_command = matches!(
                    topology.sources[address.name()].content,
                    Content::Command { .. }
                );
                let mut copies = part.pending();
                let runs = copies.any(|copy| {
                    matches!(copy.step, Step::Copy { .. }) && sources(copy) == [address.name()]
                });
                prop_assert!(is_command && (is_old || runs), "{address}");
            }
        }
        for (action, ready) in part.actions.iter().zip(readiness(&part, &observed)) {
            let is_as_planned = match &action.deferred {
                Some(_) => matches!(ready, Readiness::Deferred(_)),
                None => ready == Readiness::Ready,
            };
            prop_assert!(is_as_planned, "{} {ready:?}", action.label());
        }
    }

    #[test]
    fn any_part_can_be_shown((topology, observed) in world(), words in words()) {
        let Some((_, part, selection)) = whole_and_part(&topology, &observed, &words) else {
            return Ok(());
        };
        let style = Style { color: false, width: 100, detail: true, took: None, next: true };
        for text in [render(&part, &style), render_markdown(&part)] {
            prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
            prop_assert!(!text.contains("In sync"));
            let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for option in selection.options() {
                prop_assert!(words.contains(&option), "{option} is not in {words}");
            }
        }
    }
}
