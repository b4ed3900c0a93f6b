//! Arbitrary bytes in the place of project files: whatever they are, they are read or refused with places, and never a panic.
//!
//! This is not a coverage-guided fuzzer: it is random changes of files that are right or broken, from a seed, in the ordinary tests.
//! `AIFLOW_TEST_ROUNDS=100` makes it a hundred times as long.

use aiflow_project::{Definition, Environment, LoadOptions, Project};
use aiflow_testkit::definitions::Definitions;
use aiflow_testkit::rng::{Rng, SEED_VARIABLE, test_rounds, test_seed};
use std::panic::AssertUnwindSafe;

use super::corpus::{cases, project};

const FILES: usize = 3_000;
const PROJECTS: usize = 150;

const PIECES: [&[u8]; 28] = [
    b"\n",
    b"  ",
    b"\t",
    b": ",
    b"- ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"'",
    b"&a ",
    b"*a",
    b"!!str ",
    b"|\n",
    b">\n",
    b"?",
    b"#",
    b"---\n",
    b"...\n",
    b"%YAML 1.2\n",
    b"${{ env.X ?? 1 }}",
    b"${{ secrets.S }}",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\\ud83d\\ude00",
    b"\0",
];

fn index(rng: &mut Rng, n: usize) -> usize {
    usize::try_from(rng.below(n as u64)).unwrap()
}

/// A few cuts, copies, swaps and insertions.
fn changed(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(6) {
        let at = index(rng, bytes.len() + 1);
        let end = (at + index(rng, 20)).min(bytes.len());
        match rng.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.truncate(at),
            2 => {
                let part = bytes[at..end].to_vec();
                let to = index(rng, bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
            3 if at < bytes.len() => bytes[at] = u8::try_from(rng.below(256)).unwrap(),
            _ => {
                let piece = PIECES[index(rng, PIECES.len())];
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
        }
    }
}

#[test]
fn no_file_makes_the_reader_panic() {
    let seed = test_seed();
    let mut definitions = Definitions::new(seed);
    for i in 0..test_rounds(FILES) {
        let definition: Definition = match definitions.rng().chance(50) {
            true => definitions.graph("p", "w").into(),
            false => definitions.workflow("p", "w").into(),
        };
        let is_json = definitions.rng().chance(30);
        let text = if is_json { definition.to_json() } else { definition.to_yaml() }.unwrap();
        // A part of a file is changed as often as a whole one, and in less time.
        let at = text.floor_char_boundary(index(definitions.rng(), 3_000));
        let mut bytes = text.as_bytes()[..at.min(text.len())].to_vec();
        changed(definitions.rng(), &mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let file = if is_json { "w.json" } else { "w.yaml" };
        let said = std::panic::catch_unwind(|| match Definition::parse("p", "w", file, &text, &Environment::empty()) {
            Ok(definition) => {
                let again = definition.to_yaml().unwrap();
                let read = Definition::parse("p", "w", "w.yaml", &again, &Environment::empty()).unwrap();
                assert!(read == definition);
            }
            Err(problems) => {
                assert!(problems.has_errors());
                let _ = problems.to_string();
            }
        });
        assert!(said.is_ok(), "{SEED_VARIABLE}={seed}, file {i}:\n{text}");
    }
}

#[test]
fn no_project_makes_the_loader_panic() {
    let seed = test_seed();
    let mut rng = Rng::new(seed);
    let cases = cases();
    for i in 0..test_rounds(PROJECTS) {
        let (_, mut files) = cases[index(&mut rng, cases.len())].clone();
        let at = index(&mut rng, files.len().max(1));
        if let Some((_, bytes)) = files.get_mut(at) {
            changed(&mut rng, bytes);
        }
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let dir = project(&files);
        let options = LoadOptions::new().environment(Environment::empty());
        let said = std::panic::catch_unwind(AssertUnwindSafe(|| match Project::load_with(dir.path(), &options) {
            Ok(project) => drop(project.generate().unwrap()),
            Err(problems) => assert!(!problems.to_string().is_empty()),
        }));
        assert!(said.is_ok(), "{SEED_VARIABLE}={seed}, project {i}: {files:?}");
    }
}
