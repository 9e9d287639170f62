//! Reads a module's imports and exports, and the notes of its toolchain. Keeps little of it, whatever its size.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmparser::{
    BinaryReaderError, ComponentExternalKind, ComponentTypeRef, CustomSectionReader, KnownCustom, Parser,
    Payload, TypeRef,
};

use crate::component::instance_size::InstanceSize;
use crate::component::interfaces::is_version;
use crate::limits;
use crate::manifest::Language;

/// Names from a module, for people: the first few, shortened and without control characters, and how many more there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    first: Vec<String>,
    more: usize,
}

impl Names {
    fn add(&mut self, name: &str) {
        if self.first.len() == limits::NAMES_SHOWN_MAX {
            self.more += 1;
            return;
        }
        let mut characters = name.chars();
        let mut shown: String =
            characters.by_ref().take(limits::NAME_SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
        if characters.next().is_some() {
            shown.push('…');
        }
        self.first.push(shown);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Whether `is_so` is true for one of the first.
    pub fn has(&self, is_so: impl Fn(&str) -> bool) -> bool {
        self.first.iter().any(|name| is_so(name))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

/// The exports that decide what a module is.
#[derive(Debug, Default)]
pub struct Entries {
    /// `wasi:http/handler@0.3.x`.
    pub p3_handler: bool,
    /// `wasi:http/incoming-handler@0.2.x`.
    pub p2_handler: bool,
    /// A handler of WASI 0.3 before it was finished.
    pub draft_of_p3: bool,
    /// A handler of WASI 0.2 before it was finished.
    pub draft_of_p2: bool,
    /// `wasi:cli/run`: a program, as a component.
    pub run: bool,
    /// `_start`: a program, as a module.
    pub start: bool,
    /// `_initialize`: a library, as a module.
    pub initialize: bool,
    /// The entry that Spin called before it used components.
    pub spin_1: bool,
}

impl Entries {
    fn of_component(&mut self, name: &str) {
        self.p3_handler |= is_version(name, "wasi:http/handler", "0.3");
        self.p2_handler |= is_version(name, "wasi:http/incoming-handler", "0.2");
        self.draft_of_p3 |= name.starts_with("wasi:http/handler@0.3.0-");
        self.draft_of_p2 |= name.starts_with("wasi:http/incoming-handler@0.2.0-");
        self.run |= name.starts_with("wasi:cli/run@");
    }

    fn of_module(&mut self, name: &str) {
        self.start |= name == "_start";
        self.initialize |= name == "_initialize";
        self.spin_1 |= matches!(name, "handle-http-request" | "handle-redis-message");
    }
}

/// What was read of the outermost module or component.
#[derive(Debug, Default)]
pub struct Outside {
    /// Whether it is a component.
    pub is_component: bool,
    /// Whether it describes a component that is to be made of it.
    pub has_component_type: bool,
    /// The language that its toolchain noted anywhere in it.
    pub language: Language,
    /// What it exports.
    pub exports: Names,
    /// The exports that decide its kind.
    pub entries: Entries,
    /// Whether any module in it shares its memory with threads.
    pub shared_memory: bool,
    /// What an instance takes besides its memories and tables.
    pub instance_size: InstanceSize,
    /// Functions with code, of all modules in it.
    pub functions: usize,
}

impl Outside {
    /// Reads all of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut outside = Self { is_component: Parser::is_component(bytes), ..Self::default() };
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            outside.instance_size.see(&payload)?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CodeSectionStart { count, .. } => outside.functions += count as usize,
                Payload::CustomSection(section) => {
                    outside.has_component_type |= depth == 0 && section.name().starts_with("component-type");
                    outside.language = language_by_producers(&section).unwrap_or(outside.language);
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        outside.shared_memory |= memory?.shared;
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let import = import?;
                        outside.shared_memory |=
                            matches!(import.ty, TypeRef::Memory(memory) if memory.shared);
                        if depth > 0 && import.module == "env" && is_of_python(import.name) {
                            outside.language = Language::Python;
                        }
                    }
                }
                Payload::ExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let name = export?.name;
                        outside.entries.of_module(name);
                        outside.exports.add(name);
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ComponentExternalKind::Instance {
                            outside.entries.of_component(export.name.name);
                            outside.exports.add(export.name.name);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(outside)
    }

    /// Returns the imports of the outermost module or component that `is_provided` does not know: interfaces of a component,
    /// functions of a module in the form `module/function`.
    pub fn unknown_imports(bytes: &[u8], is_provided: fn(&str) -> bool) -> Result<Names, BinaryReaderError> {
        let mut unknown = Names::default();
        let mut look_at = |name: &str| {
            if !is_provided(name) {
                unknown.add(name);
            }
        };
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(imports) if depth == 0 => {
                    for import in imports.into_imports() {
                        let import = import?;
                        look_at(&format!("{}/{}", import.module, import.name));
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        let import = import?;
                        // Type imports are names for types of other imports, not things to provide.
                        if !matches!(import.ty, ComponentTypeRef::Type(_)) {
                            look_at(import.name.name);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(unknown)
    }
}

/// Returns the language that the toolchain noted, if the section is such a note. `None` if it cannot be read.
fn language_by_producers(section: &CustomSectionReader<'_>) -> Option<Language> {
    let KnownCustom::Producers(fields) = section.as_known() else { return None };
    fields.into_iter().flatten().find_map(|field| {
        let mut values = field.values.into_iter().flatten().map(|value| value.name);
        if field.name != "language" {
            return None;
        }
        values.find_map(|name| match name {
            "Python" => Some(Language::Python),
            "JavaScript" => Some(Language::JavaScript),
            _ => None,
        })
    })
}

/// Whether a function that one module of a component takes from another is of CPython's interface: componentize-py
/// leaves no note, and names can be stripped.
fn is_of_python(function: &str) -> bool {
    function.starts_with("_Py_") || function.starts_with("PyObject_") || function.starts_with("PyErr_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_few_short_and_harmless() {
        let mut names = Names::default();
        names.add("a\u{1b}[2J\u{202e}");
        names.add(&"x".repeat(100_000));
        assert!(names.to_string().starts_with("a\\u{1b}[2J\\u{202e}, xxx"), "{names}");
        for _ in 0..1_000 {
            names.add("y");
        }
        let text = names.to_string();
        assert!(text.ends_with(", y and 938 more"), "{text}");
        assert!(text.len() < 1_000, "{text}");
    }
}
