//! The stable codes of topology mistakes, each with what `bkpctl explain CODE` says.

/// Declares the codes once: the enum, their texts and the list of all.
macro_rules! codes {
    ($($name:ident $code:literal $title:literal $text:literal;)*) => {
        /// The kind of a mistake.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Code { $($name,)* }

        impl Code {
            /// Returns the code as people quote it.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }

        /// Everything that can be wrong with a topology, in the order of the codes.
        pub const EXPLANATIONS: &[Explanation] = &[
            $(Explanation { code: $code, title: $title, text: $text },)*
        ];
    };
}

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code, such as `BK021`.
    pub code: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why it matters and what to do, in a paragraph.
    pub text: &'static str,
}

/// Returns what a code means, if it is one of a topology's codes.
pub fn explanation(code: &str) -> Option<&'static Explanation> {
    EXPLANATIONS
        .iter()
        .find(|known| known.code.eq_ignore_ascii_case(code))
}

codes! {
    Unreadable "BK001" "a file of the topology can't be read"
        "The topology, or a file it includes, is missing, is not UTF-8 text, or may not be opened. Includes are looked up relative to the file that names them and must stay inside the topology's folder.";
    Syntax "BK002" "the text is not KDL"
        "A topology is written in KDL 2: a node is a name followed by arguments, properties (name=value) and, in braces, children; a node ends with its line or with a semicolon. Text that holds spaces, slashes, quotes, parentheses, brackets, braces, equals signs or hashes goes into quotes.";
    NeedsQuotes "BK003" "a value needs quotes"
        "KDL reads a word that begins with a digit as a number, so sizes, lengths of time, addresses and modes go into quotes: \"10GiB\", \"26h\", \"10.0.0.1\", \"0750\". A path goes into quotes too, since a slash can begin a comment.";
    OldLanguage "BK004" "the text looks like KDL 1"
        "Topologies are KDL 2, where true, false and null are written with a # and raw text as #\"…\"#. A topology has no true or false at all: a switch is on by being there and off by being left out. `bkpctl fmt --from-v1` converts a file in KDL 1 and keeps its comments.";
    Limit "BK005" "the file goes beyond a limit"
        "A topology may come from somebody else's change request, so its size and nesting are bounded: a mebibyte a file, two in all, 200 files, 60 000 names and values, 64 levels of blocks, 16 of comments.";
    ControlCharacter "BK006" "a text holds a control character"
        "Control characters and marks of text direction can hide text from a reviewer or drive a terminal. No value of a topology needs one, so they are refused, written out or as an escape.";
    UnknownNode "BK010" "a statement is unknown here"
        "The word is not one that this block knows. It may be misspelt, or belong into another block: `docs/topology.md` lists what each block takes.";
    UnknownProperty "BK011" "a property is unknown here"
        "The statement does not take a property of that name. It may be misspelt, or be a statement of its own inside the block.";
    Missing "BK012" "something required is missing"
        "The statement can't be understood without the argument, property or child that the message names.";
    Repeated "BK013" "something is given twice"
        "The statement or property may be given once. KDL itself would let the last one win without a word, which hides mistakes, so it is refused.";
    BadValue "BK014" "a value is of the wrong kind"
        "The value can't be read as what belongs here: a size such as \"10GiB\", a length of time such as \"26h\", a calendar expression such as \"02:00\", a mode such as \"0750\", a whole number, a name.";
    TooMany "BK015" "there are more values than the statement takes"
        "An argument or a block follows that the statement has no place for. Often a new line or a semicolon is missing between two statements.";
    TypeAnnotation "BK016" "a type annotation has no meaning here"
        "KDL allows (type) in front of a value. Topologies know the type of every value already and refuse annotations, so that nobody believes they do something.";
    Conflict "BK017" "two statements exclude each other"
        "The block says two things that can't both hold, such as `local` and `ssh`, or a directory and a bucket for one datastore. Keep one.";
    DeclaredTwice "BK020" "a name is declared twice"
        "Names are unique among things of a kind, and sources share theirs with groups of guests: jobs name either. Rename one, or remove the copy; an include may have brought it in twice.";
    UnknownName "BK021" "a name refers to nothing"
        "Nothing of that kind and name is declared in the topology or its includes. It may be misspelt, or its file may not be included.";
    WrongKind "BK022" "a reference is to the wrong kind of thing"
        "The thing exists, but can't play this part: `cloud` copies to a bucket, `sync` to a directory, and nothing can be written to a datastore that is Proxmox Backup Server's.";
    Cycle "BK023" "things refer to each other in a circle"
        "Phases follow each other, nodes are reached through nodes, containers run on nodes. A circle has no beginning, so there is no order in which to work.";
    BadPath "BK024" "a path can't be used here"
        "On a node reached over SSH paths are absolute, since there is no folder to start from; on a local node they may be relative to the topology's folder. No path may contain `..`.";
    BadInclude "BK025" "an include can't be followed"
        "Includes are relative paths inside the topology's folder, may have * in their last part, may not go in a circle, and go eight levels deep at most. There are no includes from the network and none from elsewhere on the disk: a topology is data that can be reviewed in one place.";
    BadName "BK026" "a name has characters that names may not have"
        "Names match [A-Za-z0-9][A-Za-z0-9._-]* and have at most 64 characters. They become file names, parts of commands and lines of reports, and must be harmless in all of them.";
    NoKey "BK027" "a datastore has no reading key"
        "Every datastore is encrypted. One declared key is the default for all; with several, each datastore says which one it uses with `key NAME`.";
    NotATopology "BK028" "the topology does not say its name and identity"
        "Exactly one `topology \"name\" id=\"…\"` belongs into a topology. The identity is chosen once, 4 to 64 letters and digits that no other topology has, and carried by snapshots and markers, so that two topologies never mistake each other's datastores for their own.";
    BadHost "BK029" "a host can't be used"
        "A host is `host` or `user@host`. A name that begins with a dash could be taken for an option by the tools it is handed to, so it is refused, as are spaces and characters beyond those of host names and addresses.";
    RpoTooShort "BK030" "the schedule can't keep the promised freshness"
        "The policy promises that the newest copy is never older than its `rpo`, but the jobs that back this source up leave a longer gap between two runs. Run them more often, or promise less. The time a run takes comes on top.";
    KeepsEverything "BK031" "a datastore keeps everything for ever"
        "Without `keep` no snapshot is ever pruned and the datastore grows until it is full. Say what to keep, for example `keep last=3 daily=7 weekly=4 monthly=12`.";
    DrillCannotRead "BK032" "a drill runs where nothing may be read"
        "A drill restores, so it needs the reading key. Only the machine bkpctl runs on and nodes marked `reader` may hold one. Leave `on` out to drill where bkpctl runs, or mark the node `reader`.";
    DrillWithoutCopy "BK033" "a drill proves a copy that is never made"
        "No backup, sync or cloud job brings the source to that datastore, so there will never be anything to restore. Back it up there, or drill from where it goes.";
    ToItself "BK034" "something refers to itself"
        "A copy in the datastore it comes from is no copy, and a node can't be reached through, run on, share with or mount from itself.";
    BadPlace "BK035" "the places of a datastore do not say where it is"
        "A datastore is at one place at a time. The first place has no `from-phase`; each further one names the phase that moves it there, and no two name the same.";
    NeverBackedUp "BK036" "a source is in no backup job"
        "It is declared but nothing copies it. Add it to a job, or remove it so that nobody believes it is protected.";
    StillDeclared "BK038" "a statement about the past does not fit the present"
        "`removed` names something that is no longer declared; `moved` goes from a name that is gone to one that is declared, of the same kind.";
    InlineSecret "BK039" "a text looks like a secret"
        "A topology lies in git and is read in reviews and CI logs, so it holds no secret, and no comment in it does: whatever was in a commit once is known. Credentials are named, never written: credentials env=\"AWS\" names variables, file names a key's file, identity-file one of SSH. A secret that was committed is to be replaced where it came from, too.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_found_in_any_case() {
        assert!(EXPLANATIONS.windows(2).all(|w| w[0].code < w[1].code));
        assert_eq!(
            explanation("bk021").map(|e| e.code),
            Some(Code::UnknownName.as_str())
        );
        assert_eq!(explanation("BK999"), None);
    }

    #[test]
    fn every_explanation_is_a_paragraph_that_says_more_than_its_title() {
        for e in EXPLANATIONS {
            assert!(e.text.ends_with('.') && e.text.len() > 80, "{}", e.code);
            assert!(!e.title.ends_with('.'), "{}", e.code);
        }
    }
}
