//! Computes how much memory of the host an instance of a module takes besides its linear memories and tables: for its globals,
//! and for calling and being called.
//! The layout is wasmtime's (`VMContext`). The sizes are upper bounds for what a module may share or leave out. A test compares
//! them with what wasmtime itself asks for.

use serde::{Deserialize, Serialize};
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ElementItems, Instance, Payload, TypeRef,
};

use crate::limits;

/// What every instance has.
const INSTANCE_BYTES: u64 = 512;
/// A global.
const GLOBAL_BYTES: u64 = 16;
/// A reference to a function that others may call: it is exported, or an element of a table.
const FUNCTION_REFERENCE_BYTES: u64 = 32;
/// Anything else that is imported or defined: a memory, a table, a function of another instance, a piece of data.
const ITEM_BYTES: u64 = 32;
/// A function that a component lowers or lifts.
const CANONICAL_FUNCTION_BYTES: u64 = 64;

/// What an instance of a module takes from the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Bytes of the instance itself.
    pub instance: u64,
    /// Bytes of its tables.
    pub tables: u64,
    /// Bytes of its linear memories. A note that was stored before this was counted lacks it.
    #[serde(default)]
    pub memories: u64,
}

impl Footprint {
    fn add(&mut self, other: Self) {
        self.instance = self.instance.saturating_add(other.instance);
        self.tables = self.tables.saturating_add(other.tables);
        self.memories = self.memories.saturating_add(other.memories);
    }

    fn max(self, other: Self) -> Self {
        Self {
            instance: self.instance.max(other.instance),
            tables: self.tables.max(other.tables),
            memories: self.memories.max(other.memories),
        }
    }
}

/// Counts while the sections of a module or component come by, those of what is inside it among them.
#[derive(Debug)]
pub struct InstanceSize {
    /// The outermost module or component, and the ones inside it that have not ended.
    open: Vec<Scope>,
    /// The largest one that has ended. It is assumed where it is not known which one is meant.
    largest: Footprint,
}

/// A module or component.
#[derive(Debug, Default)]
struct Scope {
    is_component: bool,
    bytes: Footprint,
    functions: u64,
    references: u64,
    /// Of a component: the sizes of its modules and components, by index.
    modules: Vec<Footprint>,
    components: Vec<Footprint>,
}

impl Scope {
    fn add(&mut self, count: u32, bytes: u64) {
        self.bytes.add(Footprint { instance: u64::from(count) * bytes, ..Footprint::default() });
    }

    fn size(&self) -> Footprint {
        let references = self.references.min(self.functions) * FUNCTION_REFERENCE_BYTES;
        let mut size = self.bytes;
        size.add(Footprint { instance: references + INSTANCE_BYTES, ..Footprint::default() });
        size
    }
}

impl Default for InstanceSize {
    fn default() -> Self {
        Self { open: vec![Scope::default()], largest: Footprint::default() }
    }
}

impl InstanceSize {
    /// Returns what an instance of the outermost module takes, after all sections were seen.
    pub fn footprint(&self) -> Footprint {
        self.open.first().map(Scope::size).unwrap_or_default()
    }

    /// Counts the next section.
    pub fn see(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let largest = self.largest;
        let is_inside = self.open.len() > 1;
        let Some(scope) = self.open.last_mut() else { return Ok(()) };
        match payload {
            Payload::ModuleSection { .. } => self.open.push(Scope::default()),
            Payload::ComponentSection { .. } => {
                self.open.push(Scope { is_component: true, ..Scope::default() });
            }
            Payload::End(_) if is_inside => self.end(),
            Payload::ImportSection(imports) => {
                scope.add(imports.count(), ITEM_BYTES);
                for import in imports.clone().into_imports() {
                    scope.functions += u64::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::FunctionSection(functions) => scope.functions += u64::from(functions.count()),
            Payload::GlobalSection(globals) => scope.add(globals.count(), GLOBAL_BYTES),
            Payload::MemorySection(memories) => {
                scope.add(memories.count(), 2 * ITEM_BYTES);
                for memory in memories.clone() {
                    let memory = memory?;
                    let page_bytes =
                        1_u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(u64::MAX);
                    let memories = memory.initial.saturating_mul(page_bytes);
                    scope.bytes.add(Footprint { memories, ..Footprint::default() });
                }
            }
            Payload::TableSection(tables) => {
                scope.add(tables.count(), ITEM_BYTES);
                for table in tables.clone() {
                    let tables = table?.ty.initial.saturating_mul(limits::TABLE_ELEMENT_BYTES);
                    scope.bytes.add(Footprint { tables, ..Footprint::default() });
                }
            }
            Payload::DataSection(data) => scope.add(data.count(), ITEM_BYTES),
            Payload::ExportSection(exports) => scope.references += u64::from(exports.count()),
            Payload::ElementSection(elements) => {
                for element in elements.clone() {
                    scope.references += u64::from(match element?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                scope.add(functions.count(), CANONICAL_FUNCTION_BYTES);
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports.clone() {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => scope.modules.push(largest),
                        ComponentTypeRef::Component(_) => scope.components.push(largest),
                        _ => {}
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    match alias? {
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. }
                        | ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. } => {
                            scope.modules.push(largest);
                        }
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, .. }
                        | ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                            scope.components.push(largest);
                        }
                        _ => {}
                    }
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances.clone() {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let size = scope.modules.get(module_index as usize).copied();
                        scope.bytes.add(size.unwrap_or(largest));
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances.clone() {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let size = scope.components.get(component_index as usize).copied();
                        scope.bytes.add(size.unwrap_or(largest));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes that the innermost open module or component has ended.
    fn end(&mut self) {
        let Some(ended) = self.open.pop() else { return };
        let size = ended.size();
        self.largest = self.largest.max(size);
        if let Some(around) = self.open.last_mut() {
            let sizes = if ended.is_component { &mut around.components } else { &mut around.modules };
            sizes.push(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::Parser;
    use wasmtime::component::Component;
    use wasmtime::{Config, Engine, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

    use super::*;

    fn counted(bytes: &[u8]) -> u64 {
        let mut size = InstanceSize::default();
        for payload in Parser::new(0).parse_all(bytes) {
            size.see(&payload.unwrap()).unwrap();
        }
        size.footprint().instance
    }

    /// What wasmtime says that it needs, when it is given too little.
    fn needed(bytes: &[u8]) -> u64 {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_memories(1).total_tables(1).total_stacks(1).max_memory_size(1 << 16);
        pool.max_core_instance_size(0).max_component_instance_size(0).max_memories_per_component(99);
        let is_component = Parser::is_component(bytes);
        if is_component {
            pool.max_core_instance_size(1 << 30);
        }
        let mut config = Config::new();
        config.memory_reservation(1 << 16).memory_guard_size(0);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let refused = match is_component {
            true => Component::new(&engine, bytes).err(),
            false => Module::new(&engine, bytes).err(),
        };
        let text = format!("{:#}", refused.unwrap());
        let (_, number) = text.split_once("requires ").unwrap_or_else(|| panic!("{text}"));
        number.split(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn it_is_at_least_what_wasmtime_needs_and_not_much_more() {
        let globals = "(global i64 (i64.const 1))".repeat(5_000);
        let functions = "(func)".repeat(3_000);
        let elements = (0..3_000).map(|number| format!("{number} ")).collect::<String>();
        let module = format!("{globals}{functions}(table 3000 funcref)(elem (i32.const 0) func {elements})");
        let imports =
            (0..500).map(|number| format!("(import \"m\" \"{number}\" (func))")).collect::<String>();
        let exports = (0..500).map(|number| format!("(export \"{number}\" (func {number}))"));
        let passed_on = format!("{imports}{}", exports.collect::<String>());
        let inner = format!("(core module $m {module}) (core instance (instantiate $m))");
        let cases = [
            format!("(module {module})"),
            format!("(module {passed_on} (memory 1))"),
            format!("(component {inner} (core instance (instantiate $m)))"),
            format!(
                "(component (component $c {inner}) (component $d (alias outer 1 $c (component $e)) (instance (instantiate $e)))
                   (instance (instantiate $d)) (instance (instantiate $d)) (instance (instantiate $c)))"
            ),
            format!(
                "(component $top (core module $m {module})
                   (component $c (alias outer $top $m (core module $n)) (core instance (instantiate $n)))
                   (instance (instantiate $c)))"
            ),
        ];
        for text in cases {
            let bytes = wat::parse_str(&text).unwrap();
            let (counted, needed) = (counted(&bytes), needed(&bytes));
            assert!(
                counted >= needed && counted <= needed * 5 / 4 + 2_048,
                "{counted} for {needed}: {text:.200}"
            );
        }
    }
}
