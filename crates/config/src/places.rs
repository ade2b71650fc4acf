//! Where the data folder and the options file are (`docs/decisions.md#where-the-files-are`).

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

use super::{
    choices::SourceKind,
    definitions,
    inputs::{LoadInputs, OptionsFile, is_app},
    resolve::load,
};
use vocab::reason::Wrong;

/// Largest options file that is read.
const OPTIONS_MAX: u64 = 1 << 20;

/// Folders and files to start from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    /// Data folder, of a source that is not made up.
    data_dir: PathBuf,
    /// The data folder was named, by itself or by `state_path`: then it is that for every source.
    data_named: bool,
    /// Options file.
    options: PathBuf,
    /// The options file was named: then it has to be there.
    options_named: bool,
}

/// Finds the data folder and the options file. `usable` says whether a folder exists and can be
/// written to.
///
/// Data folder: `--data-dir`, else that of `state_path`, else `/data` under the Supervisor or where
/// it is usable, else `$STATE_DIRECTORY`, else `$XDG_DATA_HOME/virtual-shelly` or
/// `~/.local/share/virtual-shelly`. Options file: `--options`, else `options.json` there.
fn locate(
    args: &BTreeMap<String, String>,
    env: &BTreeMap<String, String>,
    app: bool,
    usable: &dyn Fn(&Path) -> bool,
) -> Places {
    let said = |layer: &BTreeMap<String, String>, name: &str| {
        let text = layer.get(name)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    let variable = |name: &str| said(env, name);
    let option = |key: &str| {
        let named = || variable(&definitions::find(key)?.env_name());
        said(args, key).or_else(named).map(PathBuf::from)
    };
    let beside_state = || {
        option("state_path").map(|file| {
            file.parent()
                .filter(|p| !p.as_os_str().is_empty())
                .unwrap_or(Path::new("."))
                .to_path_buf()
        })
    };
    let data = Path::new("/data");
    let absolute = |name: &str| {
        let path = PathBuf::from(variable(name)?);
        path.is_absolute().then_some(path)
    };
    let named = option("data_dir").or_else(beside_state);
    let data_named = named.is_some();
    let data_dir = named
        .or_else(|| (app || usable(data)).then(|| data.to_path_buf()))
        .or_else(|| {
            let list = variable("STATE_DIRECTORY")?;
            list.split(':')
                .find(|dir| !dir.is_empty())
                .map(PathBuf::from)
        })
        .or_else(|| absolute("XDG_DATA_HOME").map(|home| home.join("virtual-shelly")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/virtual-shelly")))
        .unwrap_or_else(|| PathBuf::from("/var/lib/virtual-shelly"));
    let named = option("options");
    Places {
        options: named
            .clone()
            .unwrap_or_else(|| data_dir.join("options.json")),
        options_named: named.is_some(),
        data_dir,
        data_named,
    }
}

/// The folder inside the usual data folder that keeps made-up values apart from those of a real
/// meter, its counters and its `state.json`.
const fn apart(kind: SourceKind) -> Option<&'static str> {
    match kind {
        SourceKind::HomeAssistant => None,
        SourceKind::Demo => Some("demo"),
        SourceKind::Replay => Some("replay"),
    }
}

/// Gives a demo or replay a data folder of its own, unless one was named; the options file stays
/// where it is.
fn keep_apart(inputs: &mut LoadInputs, places: Places) {
    if places.data_named {
        return;
    }
    if let Some(folder) = apart(load(inputs).settings.source.kind) {
        inputs.options_file.get_or_insert_with(|| OptionsFile {
            path: places.options,
            contents: Ok("{}".into()),
        });
        inputs.data_dir = places.data_dir.join(folder);
    }
}

impl LoadInputs {
    /// Inputs of this process: finds the data folder and reads the options file. The Network card
    /// is asked for by whoever talks to the Supervisor.
    #[must_use]
    pub fn of_process(args: BTreeMap<String, String>, env: BTreeMap<String, String>) -> Self {
        let app = is_app(&env);
        let places = locate(&args, &env, app, &|path: &Path| usable_folder(path));
        let options_file = read_options(&places);
        let mut inputs = Self {
            args,
            env,
            options_file,
            network: None,
            data_dir: places.data_dir.clone(),
            app,
            demo_ports: BTreeMap::new(),
        };
        keep_apart(&mut inputs, places);
        inputs
    }
}

/// Whether a folder exists and can be written to.
fn usable_folder(path: &Path) -> bool {
    path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

/// Reads the options file; `None` if there is none and none was named.
fn read_options(places: &Places) -> Option<OptionsFile> {
    let mut text = String::new();
    let read = std::fs::File::open(&places.options)
        .and_then(|file| file.take(OPTIONS_MAX + 1).read_to_string(&mut text));
    let contents = match read {
        Ok(size) if size as u64 > OPTIONS_MAX => Err(Wrong::TooLarge { n: OPTIONS_MAX }.into()),
        Ok(_) => Ok(text),
        // In a data folder that is none there is no file either; the store says what is wrong there.
        Err(error) if !places.options_named && is_missing(error.kind()) => return None,
        Err(error) => Err(Wrong::CannotBeRead {
            error: error.into(),
        }
        .into()),
    };
    Some(OptionsFile {
        path: places.options.clone(),
        contents,
    })
}

fn is_missing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn no_options_are_in_a_data_folder_that_is_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut places = Places {
            data_dir: file.path().to_owned(),
            data_named: true,
            options: file.path().join("options.json"),
            options_named: false,
        };
        assert!(read_options(&places).is_none());
        places.options_named = true;
        assert!(read_options(&places).unwrap().contents.is_err());
    }

    fn dir(args: &[(&str, &str)], env: &[(&str, &str)], app: bool, data: bool) -> PathBuf {
        locate(&map(args), &map(env), app, &|_| data).data_dir
    }

    #[test]
    fn the_data_folder_is_found_in_order() {
        let all = [
            ("STATE_PATH", "/old/state.json"),
            ("STATE_DIRECTORY", "/var/lib/a:/b"),
            ("XDG_DATA_HOME", "/x"),
            ("HOME", "/home/me"),
        ];
        assert_eq!(
            dir(&[("data_dir", "/d")], &all, true, true),
            Path::new("/d")
        );
        assert_eq!(dir(&[], &all, true, true), Path::new("/old"));
        assert_eq!(dir(&[], &all[1..], true, false), Path::new("/data"));
        assert_eq!(dir(&[], &all[1..], false, true), Path::new("/data"));
        assert_eq!(dir(&[], &all[1..], false, false), Path::new("/var/lib/a"));
        assert_eq!(
            dir(&[], &all[2..], false, false),
            Path::new("/x/virtual-shelly")
        );
        assert_eq!(
            dir(&[], &all[3..], false, false),
            Path::new("/home/me/.local/share/virtual-shelly")
        );
        assert_eq!(
            dir(&[("state_path", "state.json")], &[], false, false),
            Path::new(".")
        );
        assert_eq!(
            dir(&[], &[("VIRTUAL_SHELLY_DATA_DIR", "/e")], false, true),
            Path::new("/e")
        );
        let places = locate(
            &map(&[("data_dir", "/d")]),
            &map(&[("VIRTUAL_SHELLY_OPTIONS", "/o.json")]),
            false,
            &|_| false,
        );
        assert_eq!(places.options.as_path(), Path::new("/o.json"));
        assert!(places.options_named);
    }

    #[test]
    fn made_up_values_have_a_folder_of_their_own() {
        let inputs =
            |args: &[(&str, &str)], env: &[(&str, &str)], file: Option<&str>, app: bool| {
                let (args, env) = (map(args), map(env));
                let places = locate(&args, &env, app, &|_| true);
                let options_file = file.map(|text| OptionsFile {
                    path: places.options.clone(),
                    contents: Ok(text.into()),
                });
                let mut inputs = LoadInputs {
                    args,
                    env,
                    options_file,
                    data_dir: places.data_dir.clone(),
                    app,
                    ..LoadInputs::default()
                };
                keep_apart(&mut inputs, places);
                (inputs.data_dir, inputs.options_file.map(|file| file.path))
            };
        let options = Path::new("/data/options.json");
        assert_eq!(inputs(&[], &[], None, false), ("/data".into(), None));
        let demo = || ("/data/demo".into(), Some(options.to_path_buf()));
        assert_eq!(inputs(&[("source", "demo")], &[], None, false), demo());
        assert_eq!(
            inputs(&[], &[("VIRTUAL_SHELLY_SOURCE", "demo")], Some("{}"), true),
            demo()
        );
        assert_eq!(
            inputs(&[], &[], Some(r#"{"source": "demo"}"#), false),
            demo()
        );
        let replay = [("source", "replay"), ("replay_file", "x.csv")];
        assert_eq!(
            inputs(&replay, &[], Some(r#"{"source": "demo"}"#), false).0,
            Path::new("/data/replay")
        );
        assert_eq!(
            inputs(&[("source", "demo"), ("data_dir", "/d")], &[], None, false),
            ("/d".into(), None)
        );
        assert_eq!(
            inputs(
                &[("source", "demo")],
                &[("STATE_PATH", "/old/state.json")],
                None,
                false
            )
            .0,
            Path::new("/old")
        );
    }

    #[test]
    fn a_missing_file_matters_only_if_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut places = Places {
            data_dir: folder.path().into(),
            data_named: true,
            options: folder.path().join("options.json"),
            options_named: false,
        };
        assert!(read_options(&places).is_none());
        places.options_named = true;
        assert!(read_options(&places).unwrap().contents.is_err());
        std::fs::write(&places.options, "{}").unwrap();
        assert_eq!(read_options(&places).unwrap().contents.as_deref(), Ok("{}"));
        std::fs::write(&places.options, vec![b' '; (OPTIONS_MAX + 1) as usize]).unwrap();
        assert!(read_options(&places).unwrap().contents.is_err());
        assert!(usable_folder(folder.path()) && !usable_folder(&places.options));
    }
}
