//! Projects: which workflows does a directory hold, and is everything right with them?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aiflow_core::Error;
use aiflow_core::id::{PoolName, ProjectName, WorkflowName};
use aiflow_core::translator::SplitTranslator;
use aiflow_core::workflow::Workflow;
use serde_json::{Map, Value};

use crate::decode::Decoder;
use crate::definition::Definition;
use crate::file::{Around, Read, read};
use crate::problem::{Problem, Problems, nearest};
use crate::source::{Place, Source};
use crate::substitute::{Environment, Meaning, substitute};
use crate::tables::PROJECT;
use crate::tree::{FILE_BYTES_MAX, parse, shown};

/// The most workflows of a project.
pub const WORKFLOWS_MAX: usize = 10_000;
/// The forms of a workflow file.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A project directory that was read and checked.
///
/// ```text
/// project.yaml                      name, properties, pools
/// workflows/<name>/<name>.yaml      a workflow (or .json), beside its code
/// dependencies/                     python/, jar/, … that jobs depend on
/// resources/                        other files that jobs read
/// generated/                        what the translation made; see `Project::generate`
/// ```
#[derive(Debug, Clone)]
pub struct Project {
    pub(crate) dir: PathBuf,
    pub(crate) name: ProjectName,
    pub(crate) properties: Map<String, Value>,
    pub(crate) pools: BTreeMap<PoolName, u32>,
    pub(crate) ignore: Vec<String>,
    pub(crate) workflows: Vec<ProjectWorkflow>,
    warnings: Problems,
}

/// A workflow of a project.
#[derive(Debug, Clone)]
pub struct ProjectWorkflow {
    /// Its file, relative to the project.
    pub file: String,
    /// What the file describes.
    pub definition: Definition,
    /// The workflow that this becomes.
    pub workflow: Workflow,
}

/// What is known of the host when a project is loaded.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    environment: Environment,
    functions: Option<BTreeSet<String>>,
    executors: Option<BTreeSet<String>>,
    translator: SplitTranslator,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            environment: Environment::of_process(),
            functions: None,
            executors: None,
            translator: SplitTranslator::new(),
        }
    }
}

impl LoadOptions {
    /// The environment of this process; any function and executor.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets where `${{ env.NAME }}` is looked up.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Refuses functions that are not among these, the registered ones.
    #[must_use]
    pub fn functions<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.functions = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Translates graphs with this translator: for job types with a [generator](SplitTranslator::generator).
    #[must_use]
    pub fn translator(mut self, translator: SplitTranslator) -> Self {
        self.translator = translator;
        self
    }

    /// Refuses executors that are not among these, the registered ones.
    #[must_use]
    pub fn executors<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.executors = Some(names.into_iter().map(Into::into).collect());
        self
    }
}

impl Project {
    /// Loads and checks a project directory. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong, in all files at once.
    pub fn load(dir: impl AsRef<Path>) -> Result<Self, Problems> {
        Self::load_with(dir, &LoadOptions::default())
    }

    /// Loads and checks a project directory. Blocks.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(dir: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, Problems> {
        let dir = dir.as_ref();
        let mut problems = Problems::default();
        let source = file(dir, "project.yaml", &mut problems);
        let project = source.and_then(|source| head(dir, &source, options, &mut problems));
        // Without a name and properties nothing of the rest means anything.
        let Some(mut project) = project else {
            problems.sort();
            return Err(problems);
        };
        let names = workflow_dirs(dir, &mut problems);
        for (workflow, found) in load_all(&project, &names, options) {
            project.workflows.extend(workflow);
            problems.extend(found);
        }
        problems.sort();
        if problems.has_errors() {
            return Err(problems);
        }
        project.warnings = problems;
        Ok(project)
    }

    /// Its directory, as it was given.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ProjectName {
        &self.name
    }

    /// Its properties, with references replaced.
    #[must_use]
    pub fn properties(&self) -> &Map<String, Value> {
        &self.properties
    }

    /// Its workflows, by name.
    #[must_use]
    pub fn workflows(&self) -> &[ProjectWorkflow] {
        &self.workflows
    }

    /// The workflow of this name.
    #[must_use]
    pub fn workflow(&self, name: &str) -> Option<&ProjectWorkflow> {
        self.workflows.iter().find(|workflow| workflow.workflow.name.as_str() == name)
    }

    /// What is probably not meant.
    #[must_use]
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// Writes what the translation made into `generated/`, for people: each workflow as JSON and as a Mermaid flow chart. Files that are as
    /// they should be are left alone. Blocks. Returns how many were written.
    ///
    /// # Errors
    /// `Unavailable`: the directory cannot be written.
    pub fn generate(&self) -> Result<usize, Error> {
        let dir = self.dir.join("generated");
        let failed = |error| {
            Error::new(aiflow_core::ErrorKind::Unavailable, "write generated files", "cannot write").caused_by(error)
        };
        fs::create_dir_all(&dir).map_err(|error: std::io::Error| failed(error))?;
        let mut n_written = 0_usize;
        for ProjectWorkflow { workflow, .. } in &self.workflows {
            let json = serde_json::to_string_pretty(workflow).unwrap_or_default();
            for (extension, text) in [("json", json), ("mmd", workflow.to_mermaid())] {
                let path = dir.join(format!("{}.{extension}", workflow.name));
                if fs::read(&path).is_ok_and(|known| known == text.as_bytes()) {
                    continue;
                }
                fs::write(&path, text).map_err(|error: std::io::Error| failed(error))?;
                n_written = n_written.saturating_add(1);
            }
        }
        Ok(n_written)
    }
}

/// A file of the project; `None` if it cannot be read, which is said.
fn file(dir: &Path, name: &str, problems: &mut Problems) -> Option<Arc<Source>> {
    let mut refuse = |message: String| {
        problems.add(Problem::new(&Source::new(name, ""), Place::START, message));
        None
    };
    let path = dir.join(name);
    let opened = fs::File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return refuse("the file is missing".to_owned()),
        Err(error) => return refuse(format!("the file cannot be read: {error}")),
    };
    if !metadata.is_file() {
        return refuse("this is no file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX as u64 {
        return refuse(format!("the file has {} bytes, at most {FILE_BYTES_MAX} are allowed", metadata.len()));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    match file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => return refuse(format!("the file cannot be read: {error}")),
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(&text))),
        Err(error) => refuse(format!("the file is no UTF-8 from byte {} on", error.utf8_error().valid_up_to())),
    }
}

fn head(dir: &Path, source: &Arc<Source>, options: &LoadOptions, problems: &mut Problems) -> Option<Project> {
    let mut root = parse(source, problems)?;
    let mut decoder = Decoder { source, problems };
    substitute(&mut decoder, &Meaning { environment: &options.environment, properties: &Map::new() }, &mut root);
    let object = decoder.record(&PROJECT, &root)?;
    let name = ProjectName::parse(object.get("name")?.as_str()?).ok()?;
    if name.is_reserved() {
        decoder.say(root.place, "names that begin with \"aiflow.\" are reserved");
        return None;
    }
    let mut pools = BTreeMap::new();
    for (pool, slots) in object.get("pools").and_then(Value::as_object).into_iter().flatten() {
        if !decoder.check_name(pool, root.place, "pool name") {
            return None;
        }
        pools.insert(PoolName::parse(pool).ok()?, u32::try_from(slots.as_u64()?).ok()?);
    }
    let ignore = object.get("ignore").and_then(Value::as_array).into_iter().flatten();
    Some(Project {
        dir: dir.to_owned(),
        name,
        properties: object.get("properties").and_then(Value::as_object).cloned().unwrap_or_default(),
        pools,
        ignore: ignore.filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
        workflows: Vec::new(),
        warnings: Problems::default(),
    })
}

/// The names of the directories of workflows, in order.
fn workflow_dirs(dir: &Path, problems: &mut Problems) -> Vec<String> {
    let root = Source::new("workflows", "");
    let entries = match fs::read_dir(dir.join("workflows")) {
        Ok(entries) => entries,
        Err(error) => {
            let message = match error.kind() {
                std::io::ErrorKind::NotFound => "the directory is missing".to_owned(),
                _ => format!("the directory cannot be read: {error}"),
            };
            problems.add(Problem::new(&root, Place::START, message));
            return Vec::new();
        }
    };
    let mut names = BTreeSet::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "__pycache__" || !entry.path().is_dir() {
            continue;
        }
        if let Err(error) = WorkflowName::parse(&name) {
            let message = format!("the directory {} names no workflow: {}", shown(&name), error.message());
            problems.add(Problem::new(&root, Place::START, message));
            continue;
        }
        names.insert(name);
        if names.len() > WORKFLOWS_MAX {
            let message = format!("there are more than {WORKFLOWS_MAX} workflows");
            problems.add(Problem::new(&root, Place::START, message));
            return Vec::new();
        }
    }
    names.into_iter().collect()
}

type Loaded = (Option<ProjectWorkflow>, Problems);

/// Loads all workflows, on all processors, in the order of their names.
fn load_all(project: &Project, names: &[String], options: &LoadOptions) -> Vec<Loaded> {
    let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(16);
    let n_each = names.len().div_ceil(n_threads).max(1);
    let load = |names: &[String]| names.iter().map(|name| load_one(project, name, options)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let threads: Vec<_> = names.chunks(n_each).map(|names| scope.spawn(move || load(names))).collect();
        let loaded = threads.into_iter().map(|thread| match thread.join() {
            Ok(loaded) => loaded,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        loaded.flatten().collect()
    })
}

fn load_one(project: &Project, name: &str, options: &LoadOptions) -> Loaded {
    let mut problems = Problems::default();
    let workflow = load_workflow(project, name, options, &mut problems);
    (workflow, problems)
}

fn load_workflow(
    project: &Project,
    name: &str,
    options: &LoadOptions,
    problems: &mut Problems,
) -> Option<ProjectWorkflow> {
    let named: Vec<String> =
        EXTENSIONS.iter().map(|extension| format!("workflows/{name}/{name}.{extension}")).collect();
    let there: Vec<&String> = named.iter().filter(|file| project.dir.join(file).exists()).collect();
    let path = match there[..] {
        [only] => only.clone(),
        [] => named.first()?.clone(),
        [_, second, ..] => {
            let source = Source::new(second.as_str(), "");
            problems.add(Problem::new(&source, Place::START, "the workflow has two files; keep one"));
            return None;
        }
    };
    let source = file(&project.dir, &path, problems)?;
    let around = Around {
        project: project.name.as_str(),
        workflow: name,
        properties: &project.properties,
        environment: &options.environment,
    };
    let read = read(&source, around, problems)?;
    look_up(project, name, &read, &source, options, problems);
    match read.definition.translate(&options.translator) {
        Ok((workflow, warnings)) => {
            warnings.iter().for_each(|found| problems.add(read.problem(&source, found)));
            Some(ProjectWorkflow { file: path, definition: read.definition, workflow })
        }
        Err(found) => {
            found.iter().for_each(|found| problems.add(read.problem(&source, found)));
            None
        }
    }
}

/// Whether what the file names is there: functions, executors, pools, files.
fn look_up(
    project: &Project,
    name: &str,
    read: &Read,
    source: &Arc<Source>,
    options: &LoadOptions,
    problems: &mut Problems,
) {
    let known = [
        ("function", &read.places.functions, &options.functions),
        ("executor", &read.places.executors, &options.executors),
    ];
    for (what, named, known) in known {
        let Some(known) = known else { continue };
        for (name, place) in named.iter().filter(|(name, _)| !known.contains(name)) {
            let problem = Problem::new(source, *place, format!("no {what} {} is registered", shown(name)));
            problems.add(match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => problem.help(format!("did you mean {near}?")),
                None => problem,
            });
        }
    }
    // A project that sets no pools may have them set elsewhere.
    let is_unknown =
        |pool: &String| !project.pools.is_empty() && !project.pools.keys().any(|known| known.as_str() == pool);
    for (pool, place) in read.places.pools.iter().filter(|(pool, _)| is_unknown(pool)) {
        let problem = Problem::new(source, *place, format!("project.yaml sets no pool {}", shown(pool)));
        problems.add(match nearest(pool, project.pools.keys().map(PoolName::as_str)) {
            Some(near) => problem.help(format!("did you mean {near}?")),
            None => problem,
        });
    }
    let dir = project.dir.join("workflows").join(name);
    let mut missing = |what: &str, path: &str, place: Place| {
        let message = format!("the {what} {} is not there, beside the workflow file", shown(path));
        problems.add(Problem::new(source, place, message));
    };
    for (path, place) in &read.places.files {
        if !dir.join(path).is_file() {
            missing("file", path, *place);
        }
    }
    for (path, place) in &read.places.directories {
        if !dir.join(path).is_dir() {
            missing("directory", path, *place);
        }
    }
}
