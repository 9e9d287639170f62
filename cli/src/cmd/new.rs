//! `wfn new`: the folder of a new function, from a template.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;
use wfn_manifest::names::AppName;

use crate::cmd::app_name;
use crate::failure::{Done, Failure, WhileDoing};
use crate::output;
use crate::settings::Global;
use crate::template::{self, TEMPLATES, Template};

/// Arguments of `wfn new`.
#[derive(Debug, Args)]
#[command(after_help = "Without arguments the templates are listed.")]
pub struct New {
    /// What to begin with
    #[arg(short, long, value_name = "TEMPLATE", value_parser = known_template, requires = "name")]
    template: Option<&'static Template>,

    /// Name of the app and of its folder, which is made here
    #[arg(value_name = "NAME", value_parser = app_name, requires = "template")]
    name: Option<AppName>,
}

impl New {
    /// Makes the project, or lists the templates.
    pub fn run(self, global: &Global) -> Done {
        match (self.template, self.name) {
            (Some(template), Some(name)) => {
                make(template, &name).while_doing(|| format!("make {name}"))?;
                report(template, &name, global)
            }
            _ => list(global),
        }
    }
}

fn make(template: &Template, name: &AppName) -> Done {
    let folder = Path::new(name.as_str());
    let failed = |path: &Path, error| Failure::new(format!("{}: {error}", path.display()));
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(false) => {}
        Ok(true) => {
            return Err(Failure::new(format!("the folder {name} exists and is not empty"))
                .remedy("another name, or empty the folder first"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(Failure::new(format!("{name} exists and is a file")).remedy("another name"));
        }
        Err(error) => return Err(failed(folder, error)),
    }
    for (path, text) in template.render(name.as_str()) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        File::create_new(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn report(template: &Template, name: &AppName, global: &Global) -> Done {
    if global.json {
        return output::print_json(&json!({ "app": name, "template": template.name, "folder": name }));
    }
    output::print(&format!(
        "made {name} from template {}; go on with:\n  cd {name}\n  wfn dev\n  curl http://127.0.0.1:8080/{name}/",
        template.name
    ))
}

fn list(global: &Global) -> Done {
    if global.json {
        let templates: Vec<_> = TEMPLATES
            .iter()
            .map(|template| json!({ "name": template.name, "about": template.about }))
            .collect();
        return output::print_json(&json!({ "templates": templates }));
    }
    let rows: Vec<_> =
        TEMPLATES.iter().map(|template| vec![template.name.to_owned(), template.about.to_owned()]).collect();
    output::print(&output::table(&["TEMPLATE", "MAKES"], &rows))?;
    output::say("try: wfn new -t TEMPLATE NAME");
    Ok(())
}

fn known_template(name: &str) -> Result<&'static Template, String> {
    template::find(name).ok_or_else(|| {
        let names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
        format!("there is no such template: use {}", names.join(", "))
    })
}
