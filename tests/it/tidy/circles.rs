//! Which files of a crate depend on which, and the circles among them. A file depends on another one if its code names
//! something that the other one defines. What a third file re-exports is followed to where it is defined; to declare a
//! module or to re-export something is no dependency, and tests do not count. Does not depend on which files there are.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, code};
use super::{expect_none, sources};

/// Crates, by the folders of their sources.
const CRATES: [&str; 4] = ["src", "bench/src", "cluster/src", "xtask/src"];
/// Re-exports of re-exports that are followed.
const MOST_FOLLOWED: usize = 8;

/// The names of a path: `api`, `server`, `serve`.
type Path = Vec<String>;
/// Files by their modules, with the names that tie another file to each.
type Ties = BTreeMap<Path, BTreeSet<String>>;

/// A file of a crate.
struct File {
    /// Where it is.
    place: String,
    /// What it brings in by `use`.
    uses: Vec<Use>,
    /// Every path in its code; of single names those that it re-exports and uses itself.
    mentions: BTreeSet<Path>,
}

/// A name that a `use` brings in.
struct Use {
    /// The name as it is here.
    name: String,
    /// What it names.
    path: Path,
    /// Whether others may have it from here.
    is_export: bool,
}

/// The files of a crate by their modules.
struct Crate(BTreeMap<Path, File>);

impl Crate {
    /// Reads a crate: the folder of its sources, and each with its place.
    fn read(folder: &str, sources: &[(String, String)]) -> Self {
        let has_library = sources.iter().any(|(place, _)| *place == format!("{folder}/lib.rs"));
        let file = |(place, tokens): (&str, Vec<Token<'_>>)| {
            (module(&place[folder.len() + 1..], has_library), File::read(place, &tokens))
        };
        Self(code(sources).into_iter().map(file).collect())
    }

    /// Turns a path in a module's code into one from the root of the crate. `None` where it leads out of the crate or begins
    /// with a name that no `use` brought in.
    fn absolute(&self, module: &Path, path: &[String], followed: usize) -> Option<Path> {
        let (first, mut rest) = path.split_first()?;
        let mut base = module.clone();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop();
                while rest.first().is_some_and(|next| next == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            name if self.0.contains_key(&child(module, name)) => base.push(name.to_owned()),
            name if followed < MOST_FOLLOWED => {
                let brought = self.0.get(module)?.uses.iter().find(|brought| brought.name == name)?;
                base = self.absolute(module, &brought.path, followed + 1)?;
            }
            _ => return None,
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The module that defines what a path from the root names, and its name there. `None` where it names a module.
    fn definition(&self, path: &[String], followed: usize) -> Option<(Path, String)> {
        let mut module = Path::new();
        for (at, name) in path.iter().enumerate() {
            let (inner, rest) = (child(&module, name), &path[at + 1..]);
            let exports =
                self.0.get(&module).into_iter().flat_map(|file| &file.uses).filter(|it| it.is_export);
            let export = { exports }.find(|it| it.name == *name);
            // A module may re-export something of its own name.
            if self.0.contains_key(&inner) && (export.is_none() || !rest.is_empty()) {
                module = inner;
                continue;
            }
            let export = export.filter(|_| followed < MOST_FOLLOWED);
            return match export.and_then(|export| self.absolute(&module, &export.path, 0)) {
                Some(export) => self.definition(&[&export, rest].concat(), followed + 1),
                None => Some((module, name.clone())),
            };
        }
        None
    }

    /// What a file depends on.
    fn ties(&self, module: &Path) -> Ties {
        let file = &self.0[module];
        let imports = file.uses.iter().filter(|it| !it.is_export).map(|it| &it.path);
        let mut ties = Ties::new();
        for path in imports.chain(&file.mentions) {
            let absolute = self.absolute(module, path, 0);
            if let Some((other, name)) = absolute.and_then(|path| self.definition(&path, 0))
                && other != *module
                && self.0.contains_key(&other)
            {
                ties.entry(other).or_default().insert(name);
            }
        }
        ties
    }

    /// Every circle: its files, and what ties each to the next.
    fn circles(&self) -> Vec<Circle> {
        let ties: BTreeMap<&Path, Ties> = self.0.keys().map(|module| (module, self.ties(module))).collect();
        let reached: BTreeMap<&Path, BTreeSet<&Path>> =
            ties.keys().map(|module| (*module, reached(&ties, module))).collect();
        let (mut circles, mut known) = (Vec::new(), BTreeSet::<&Path>::new());
        for (module, all) in &reached {
            if !all.contains(module) || known.contains(module) {
                continue;
            }
            let members: BTreeSet<&Path> =
                all.iter().copied().filter(|other| reached[other].contains(module)).collect();
            let place = |module: &Path| self.0[module].place.clone();
            let mut told = Vec::new();
            for from in &members {
                for (to, names) in ties[from].iter().filter(|(to, _)| members.contains(to)) {
                    let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                    told.push(format!("{} names {names} of {}", place(from), place(to)));
                }
            }
            known.extend(&members);
            circles.push(Circle { files: members.into_iter().map(place).collect(), ties: told });
        }
        circles
    }
}

/// Files that depend on each other.
struct Circle {
    files: Vec<String>,
    ties: Vec<String>,
}

/// Every file that is reached from one by what it depends on; itself only in a circle.
fn reached<'a>(ties: &'a BTreeMap<&'a Path, Ties>, from: &'a Path) -> BTreeSet<&'a Path> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(ties[module].keys().filter(|next| found.insert(*next)));
    }
    found
}

impl File {
    fn read(place: &str, tokens: &[Token<'_>]) -> Self {
        let (mut uses, mut code, mut at) = (Vec::new(), Vec::new(), 0);
        while at < tokens.len() {
            let (before, token) = (&tokens[..at], tokens[at]);
            at += 1;
            // What an `impl Trait` captures is written `use<..>`.
            let is_capture = tokens.get(at).is_some_and(|next| next.text == "<");
            if token.text == "use" && !is_capture {
                read_use(tokens, &mut at, &[], is_public(before), &mut uses);
            } else {
                code.push(token);
            }
        }
        let mut mentions = paths(&code);
        mentions.retain(|path| path.len() > 1 || uses.iter().any(|it| it.is_export && it.name == path[0]));
        Self { place: place.to_owned(), uses, mentions }
    }
}

/// Whether the tokens before an item make it public, if only to some.
fn is_public(before: &[Token<'_>]) -> bool {
    let open = before.iter().rposition(|token| token.text == "(");
    let before = match (before.last(), open) {
        (Some(last), Some(open)) if last.text == ")" => &before[..open],
        _ => before,
    };
    before.last().is_some_and(|token| token.text == "pub")
}

/// Reads what a `use` brings in, from behind the word or a comma in braces to behind the last name.
fn read_use(tokens: &[Token<'_>], at: &mut usize, before: &[String], is_export: bool, found: &mut Vec<Use>) {
    let text = |at: usize| tokens.get(at).map_or(";", |token| token.text);
    let mut path = before.to_vec();
    loop {
        match text(*at) {
            "{" => {
                *at += 1;
                while !matches!(text(*at), "}" | ";") {
                    read_use(tokens, at, &path, is_export, found);
                    *at += usize::from(text(*at) == ",");
                }
                *at += 1;
                return;
            }
            "," | "}" | ";" | "as" => break,
            "::" => {}
            // In braces it is what stands before them.
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        *at += 1;
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if text(*at) == "as" {
        name = text(*at + 1).to_owned();
        *at += 2;
    }
    found.push(Use { name, path, is_export });
}

/// Every path in code, single names too.
fn paths(code: &[Token<'_>]) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    for (at, token) in code.iter().enumerate() {
        let before = |back| code[..at].iter().nth_back(back).map_or("", |token| token.text);
        let is_inside = matches!(before(0), "::" | "mod") || before(0) == "." && before(1) != ".";
        if token.is_word() && !is_inside {
            let more = code[at + 1..].chunks_exact(2);
            let more = more.take_while(|pair| pair[0].text == "::" && pair[1].is_word());
            let names = std::iter::once(token).chain(more.map(|pair| &pair[1]));
            found.insert(names.map(|name| name.text.to_owned()).collect());
        }
    }
    found
}

/// The module that a file is, by its place below the folder of its crate.
fn module(place: &str, has_library: bool) -> Path {
    let inside = place.trim_end_matches(".rs");
    match inside.strip_suffix("/mod").unwrap_or(inside) {
        "lib" => Path::new(),
        "main" if !has_library => Path::new(),
        inside => inside.split('/').map(str::to_owned).collect(),
    }
}

fn child(module: &[String], name: &str) -> Path {
    [module, &[name.to_owned()]].concat()
}

#[test]
fn no_file_depends_on_itself_through_others() {
    let mut broken = Vec::new();
    for folder in CRATES {
        let circles = Crate::read(folder, &sources(&[folder])).circles();
        for Circle { files, ties } in circles {
            broken.push(format!(
                "{}: depend on each other in a circle:\n    {}\n  Rule: files depend on each other in one direction, so that \
                 each can be read after those that it names.\n  Remedy: move what both need into a file that both may name, \
                 give a constant to the file whose idea it is, or take it as an argument.",
                files.join(", "),
                ties.join("\n    ")
            ));
        }
    }
    expect_none(&broken);
}

/// The parts of the store from the ground up: each names only files of itself and of those before it.
const PARTS: [&str; 20] = [
    "fairness",
    "ingest",
    "sql",
    "layout",
    "config",
    "tx",
    "analytics",
    "calls",
    "deliveries",
    "batches",
    "jobs",
    "reads",
    "apply",
    "lifetime",
    "transfer",
    "records",
    "maintenance",
    "engine",
    "sqlite",
    "postgres",
];

#[test]
fn every_part_of_the_store_names_only_those_below_it() {
    let sources = sources(&["src"]);
    let read = Crate::read("src", &sources);
    let rank = |place: &str| {
        let part = place.strip_prefix("src/store/")?.split_once('/')?.0;
        PARTS.iter().position(|known| *known == part)
    };
    let folders: BTreeSet<&str> = sources
        .iter()
        .filter_map(|(place, _)| Some(place.strip_prefix("src/store/")?.split_once('/')?.0))
        .filter(|folder| *folder != "roles")
        .collect();
    assert_eq!(folders, BTreeSet::from(PARTS), "a folder of the store has no place among its parts");
    let mut broken = Vec::new();
    for (module, file) in &read.0 {
        let Some(own) = rank(&file.place) else { continue };
        for (other, names) in read.ties(module) {
            let place = &read.0[&other].place;
            if rank(place).is_some_and(|it| it > own) {
                let names = names.into_iter().collect::<Vec<_>>().join(", ");
                broken.push(format!(
                    "{} names {names} of {place}.\n  Rule: the parts of the store stand on each other: {}.\n  Remedy: move what \
                     both need into the lower part, or the rule that needs both into a part above them.",
                    file.place,
                    PARTS.join(" <- ")
                ));
            }
        }
    }
    expect_none(&broken);
}

/// What ties the circles among made-up files.
fn ties(files: &[(&str, &str)]) -> String {
    let source = |(place, source): &(&str, &str)| (format!("src/{place}.rs"), (*source).to_owned());
    let circles = Crate::read("src", &files.iter().map(source).collect::<Vec<_>>()).circles();
    circles.into_iter().flat_map(|circle| circle.ties).collect::<Vec<_>>().join("; ").replace("src/", "")
}

#[test]
fn circles_are_found_however_a_name_is_written() {
    let b = ("b", "use crate::a::A;\npub struct B(A);");
    let both = "a.rs names B of b.rs; b.rs names A of a.rs";
    for a in [
        "use crate::b::B;",
        "use crate::{c, b::{self, B as Other}};",
        "use super::b::{B,};",
        "use super::b as other;\nfn f() -> other::B { todo!() }",
        "use crate::b;\nfn f(x: Vec<b::B>) {}",
        "fn f() { crate::b::B::new() }",
        "fn f() { use crate::b::B; }",
        "fn f<'a>(x: &'a super::b::B) {}",
        "fn f() -> A { A { c: 1, ..crate::b::B.into() } }",
        "fn f() -> impl Sized + use<> { let _: crate::b::B; }",
    ] {
        assert_eq!(ties(&[("a", a), b]), both, "{a}");
    }
    for a in [
        "",
        "// crate::b::B",
        "const C: &str = \"crate::b::B\";",
        "use other::b::B;",
        "use crate::b;",
        "mod b;",
    ] {
        assert_eq!(ties(&[("a", a), b]), "", "{a}");
    }
}

#[test]
fn what_is_re_exported_is_of_the_file_that_defines_it() {
    let of_root = [
        ("lib", "pub mod b;\npub use b::B;"),
        ("a", "use crate::B;\npub struct A;"),
        ("b", "use crate::a::A;"),
    ];
    assert_eq!(ties(&of_root), "a.rs names B of b.rs; b.rs names A of a.rs");
    let of_folder = [
        (
            "c/mod",
            "mod state;\nmod serve;\npub(crate) use serve::{serve, Serve as Server};\npub use self::state::State;",
        ),
        ("c/state", "use super::Server;\nuse super::serve;\npub struct State;"),
        ("c/serve", "use super::State;\npub fn serve() {}\npub struct Serve;"),
    ];
    assert_eq!(
        ties(&of_folder),
        "c/serve.rs names State of c/state.rs; c/state.rs names Serve, serve of c/serve.rs"
    );
    let twice = [("a", "pub use crate::b::X;"), ("b", "pub use crate::a::X;"), ("c", "use crate::a::X;")];
    assert_eq!(ties(&twice), "");
}

#[test]
fn a_folder_may_list_what_is_in_it_and_not_be_named_by_it() {
    let names = ("c/list", "pub struct List;");
    let run = ("c/run", "use super::names;\npub fn run() {}");
    assert_eq!(ties(&[("c/mod", "mod run;\npub use run::run;\npub fn names() {}"), run]), "");
    assert_eq!(ties(&[("c/mod", "mod list;\nfn f(x: list::List) {}"), names]), "");
    let all = "c/mod.rs names List of c/list.rs; c/list.rs names ALL of c/mod.rs";
    let list = ("c/list", "use super::ALL;\npub struct List;");
    assert_eq!(ties(&[("c/mod", "mod list;\npub static ALL: [list::List; 0] = [];"), list]), all);
    assert_eq!(
        ties(&[("c/mod", "mod list;\npub use list::List;\npub static ALL: [List; 0] = [];"), list]),
        all
    );
    // What a folder brings in for itself is its own.
    let inherited =
        [("c/mod", "mod list;\nuse list::List;"), ("c/list", "pub struct List;\nfn f(x: super::List) {}")];
    assert_eq!(ties(&inherited), "c/mod.rs names List of c/list.rs; c/list.rs names List of c/mod.rs");
}

#[test]
fn tests_are_in_no_circle() {
    let b = ("b", "use crate::a::A;");
    assert_eq!(ties(&[("a", "pub struct A;\n#[cfg(test)]\nmod tests {\n use crate::b::B;\n}"), b]), "");
    assert_eq!(
        ties(&[
            ("a", "#[cfg(test)]\nmod plans;\npub struct A;\nuse plans::P;"),
            ("a/plans", "use super::A;")
        ]),
        ""
    );
}

#[test]
fn a_circle_of_many_is_one() {
    let files = [
        ("a", "use crate::b::B;"),
        ("b", "use crate::c::C;"),
        ("c", "use crate::a::A;"),
        ("d", "use crate::a::A;"),
    ];
    assert_eq!(ties(&files), "a.rs names B of b.rs; b.rs names C of c.rs; c.rs names A of a.rs");
}
