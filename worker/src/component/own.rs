//! A user's own components: what a worker has besides the built-in ones.
//!
//! Owns: their names, and how each is made of its settings. Leaves to others: the built-in ones
//! ([`super::registry`]), when they are made ([`crate::runtime`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;
use waterspout_core::component::rust::{KIND, RustConfig};
use waterspout_core::graph::Role;
use waterspout_core::routing::Choose;

use super::concurrent::Concurrent;
use super::registry::{self, BoltVisitor, SpoutVisitor};
use super::{AsyncBolt, Bolt, ComponentError, Context, Futures, Measures, Services, Spout, Troubles, Waker};
use crate::runtime::Host;
use crate::task::TaskCore;

type Made = Result<Box<dyn TaskCore>, ComponentError>;
type Make = Arc<dyn Fn(&Value, &Context, Host) -> Made + Send + Sync>;
/// Reads settings as their type, and throws them away.
type Try = fn(&Value) -> Result<(), String>;
type MakeGrouping = Arc<dyn Fn(&Value, u32) -> Result<Box<dyn Choose>, String> + Send + Sync>;

#[derive(Clone)]
struct Own {
    make: Make,
    role: Role,
    is_blocking: bool,
    settings: Settings,
}

/// What the settings of an own component or grouping have to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Their JSON schema.
    pub schema: Value,
    read: Try,
}

impl Settings {
    fn of<C: DeserializeOwned + JsonSchema>() -> Self {
        Self {
            schema: schemars::schema_for!(C).to_value(),
            read: |config| read::<C>(config).map(drop).map_err(|error| error.to_string()),
        }
    }

    /// Whether settings parse, which may want more than the schema says.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, config: &Value) -> Result<(), String> {
        (self.read)(config)
    }
}

#[derive(Clone)]
struct OwnGrouping {
    make: MakeGrouping,
    settings: Settings,
}

/// The components and groupings of a worker, besides the built-in ones.
#[derive(Clone, Default)]
pub struct Components {
    own: BTreeMap<String, Own>,
    groupings: BTreeMap<String, OwnGrouping>,
    futures: Futures,
    measures: Measures,
    troubles: Troubles,
}

impl Components {
    /// Adds a bolt: `rust: {component: NAME, config: ...}` in a manifest. `make` gets the settings, which must parse as
    /// `C`, for each task.
    pub fn bolt<C, B, F>(&mut self, name: &str, make: F)
    where
        C: DeserializeOwned + JsonSchema,
        B: Bolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        self.add_bolt(name, false, make);
    }

    /// Adds a bolt that waits for something outside: each of its tasks gets a thread of its own.
    pub fn blocking_bolt<C, B, F>(&mut self, name: &str, make: F)
    where
        C: DeserializeOwned + JsonSchema,
        B: Bolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        self.add_bolt(name, true, make);
    }

    /// Adds a bolt that waits for something outside without a thread of its own; see [`AsyncBolt`].
    pub fn async_bolt<C, B, F>(&mut self, name: &str, make: F)
    where
        C: DeserializeOwned + JsonSchema,
        B: AsyncBolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        self.add_bolt(name, false, move |config, context| {
            Concurrent::new(make(config, context)?, context)
        });
    }

    /// From now on futures run where a test says.
    pub(crate) fn run_futures_on(&mut self, runtime: tokio::runtime::Handle) {
        self.futures = Futures::on(runtime);
    }

    /// The metrics of the components' code.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// What goes wrong at the tasks of this worker.
    pub(crate) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// What the worker does for one task.
    pub(crate) fn services(&self) -> Services {
        Services {
            futures: self.futures.clone(),
            measures: self.measures.clone(),
            troubles: self.troubles.clone(),
            waker: Waker::default(),
        }
    }

    fn add_bolt<C, B, F>(&mut self, name: &str, is_blocking: bool, make: F)
    where
        C: DeserializeOwned + JsonSchema,
        B: Bolt,
        F: Fn(C, &Context) -> Result<B, ComponentError> + Send + Sync + 'static,
    {
        let make: Make = Arc::new(move |config, context, host| {
            BoltVisitor::visit(host, make(settings(config, context)?, context)?)
        });
        self.add(name, Role::Bolt, is_blocking, Settings::of::<C>(), make);
    }

    /// Adds a spout; see [`Components::bolt`]. Each of its tasks gets a thread of its own, so it may wait.
    pub fn spout<C, S, F>(&mut self, name: &str, make: F)
    where
        C: DeserializeOwned + JsonSchema,
        S: Spout,
        F: Fn(C, &Context) -> Result<S, ComponentError> + Send + Sync + 'static,
    {
        let make: Make = Arc::new(move |config, context, host| {
            SpoutVisitor::visit(host, make(settings(config, context)?, context)?)
        });
        self.add(name, Role::Spout, true, Settings::of::<C>(), make);
    }

    fn add(&mut self, name: &str, role: Role, is_blocking: bool, settings: Settings, make: Make) {
        let own = Own {
            make,
            role,
            is_blocking,
            settings,
        };
        self.own.insert(name.to_owned(), own);
    }

    /// Adds a grouping: `custom: {grouping: NAME, config: ...}` in a manifest. `make` gets the settings and the reader's
    /// number of tasks, for each task that emits.
    pub fn grouping<C, G, F>(&mut self, name: &str, make: F)
    where
        C: DeserializeOwned + JsonSchema,
        G: Choose + 'static,
        F: Fn(C, u32) -> Result<G, ComponentError> + Send + Sync + 'static,
    {
        let make: MakeGrouping = Arc::new(move |config, tasks| {
            let config = read(config).map_err(|error| error.to_string())?;
            let grouping = make(config, tasks).map_err(|error| error.to_string())?;
            Ok(Box::new(grouping))
        });
        let settings = Settings::of::<C>();
        self.groupings
            .insert(name.to_owned(), OwnGrouping { make, settings });
    }

    /// What the settings of an own component have to be; `None` if there is none of that name.
    pub fn settings(&self, role: Role, name: &str) -> Option<&Settings> {
        let own = self.own.get(name).filter(|own| own.role == role);
        own.map(|own| &own.settings)
    }

    /// What the settings of an own grouping have to be; `None` if there is none of that name.
    pub fn grouping_settings(&self, name: &str) -> Option<&Settings> {
        self.groupings.get(name).map(|own| &own.settings)
    }

    /// The names of the own components of a role.
    pub fn names(&self, role: Role) -> impl Iterator<Item = &str> {
        let own = self.own.iter().filter(move |(_, own)| own.role == role);
        own.map(|(name, _)| name.as_str())
    }

    /// The names of the own groupings.
    pub fn grouping_names(&self) -> impl Iterator<Item = &str> {
        self.groupings.keys().map(String::as_str)
    }

    /// Whether there is nothing of its own.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.groupings.is_empty()
    }

    /// Makes a task of an own component.
    pub(crate) fn make(&self, role: Role, config: &Value, context: &Context, host: Host) -> Made {
        let config: RustConfig = registry::parse(config, context)?;
        let own = self.own.get(&config.component).filter(|own| own.role == role);
        let Some(own) = own else {
            let role = if role == Role::Spout { "spout" } else { "bolt" };
            let names = self.own.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let known = if names.is_empty() {
                "it has none of its own; run the topology with the program that registers it".to_owned()
            } else {
                format!("it has {names}")
            };
            return Err(ComponentError::Settings(format!(
                "component '{}' needs the {role} '{}', which this worker does not have; {known}",
                context.component, config.component
            )));
        };
        (own.make)(&config.config.into(), context, host)
    }

    /// Whether an own component's tasks get threads of their own.
    pub(crate) fn is_blocking(&self, kind: &str, config: &Value) -> bool {
        let name = config.get("component").and_then(Value::as_str);
        kind == KIND
            && name
                .and_then(|name| self.own.get(name))
                .is_some_and(|own| own.is_blocking)
    }

    /// The choice of a custom grouping.
    pub(crate) fn choice(
        &self,
        name: &str,
        config: &Value,
        tasks: u32,
    ) -> Result<Box<dyn Choose>, ComponentError> {
        let wrong = |problem: String| ComponentError::Settings(format!("grouping '{name}': {problem}"));
        let make = self.groupings.get(name).ok_or_else(|| {
            wrong("this worker does not have it; run the program that registers it".to_owned())
        })?;
        (make.make)(config, tasks).map_err(wrong)
    }
}

/// Reads the settings of a component.
fn settings<C: DeserializeOwned>(config: &Value, context: &Context) -> Result<C, ComponentError> {
    read(config).map_err(|error| {
        ComponentError::Settings(format!("settings of component '{}': {error}", context.component))
    })
}

/// Reads settings. None in the manifest may mean a type without any, too.
fn read<C: DeserializeOwned>(config: &Value) -> Result<C, serde_json::Error> {
    let is_empty = config.as_object().is_some_and(serde_json::Map::is_empty);
    let nothing = || serde_json::from_value(Value::Null).ok().filter(|_| is_empty);
    serde_json::from_value(config.clone()).or_else(|error| nothing().ok_or(error))
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.own.keys())
            .entries(self.groupings.keys())
            .finish()
    }
}
