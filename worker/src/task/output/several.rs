//! Rows that go to a task that is named, or that belong to several roots.
//!
//! Owns: which open frame a named task's rows go into. Leaves to others: writing the row, and groupings ([`super`]).

use waterspout_core::frame::{FrameBuilder, GroupId, MAX_BUNDLE_GROUPS};
use waterspout_core::routing::Target;
use waterspout_core::value::Row;

use super::{Output, pusher};
use crate::component::ComponentError;

impl Output {
    /// Sends the row that was written last to all who read `stream`, or to task `task`, for several roots.
    ///
    /// # Errors
    /// If the task does not read the stream, or the roots are of too many groups.
    pub fn send_several(
        &mut self,
        stream: usize,
        task: Option<u32>,
        roots: &[(GroupId, u8)],
    ) -> Result<(), ComponentError> {
        match roots {
            [] => self.send_to(stream, task, None),
            [one] => self.send_to(stream, task, Some(*one)),
            _ if roots.len() > MAX_BUNDLE_GROUPS => Err(ComponentError::Tuple(format!(
                "component '{}' anchored a tuple to {} others, and {MAX_BUNDLE_GROUPS} are the most",
                self.component,
                roots.len()
            ))),
            _ => {
                let push = |builder: &mut FrameBuilder, row: &[u8]| builder.push_several(row, roots);
                match task {
                    None => self.send_by(stream, push),
                    Some(task) => {
                        let index = self.frame_to(stream, task)?;
                        self.put_direct(index, push);
                    }
                }
                Ok(())
            }
        }
    }

    /// As [`Output::send_several`]; `told` gets the tasks that the row went to.
    ///
    /// # Errors
    /// If the roots are of too many groups.
    pub fn send_and_tell(
        &mut self,
        stream: usize,
        roots: &[(GroupId, u8)],
        told: &mut Vec<u32>,
    ) -> Result<(), ComponentError> {
        self.route(stream, told);
        let emitted = self.emitted;
        for &task in &*told {
            self.send_several(stream, Some(task), roots)?;
        }
        self.emitted = emitted + 1;
        Ok(())
    }

    /// As [`Output::send`]; `told` gets the tasks that the row went to.
    ///
    /// # Errors
    /// None: the tasks read the stream.
    pub fn send_root_and_tell(
        &mut self,
        stream: usize,
        anchor: Option<(GroupId, u8)>,
        told: &mut Vec<u32>,
        mut registered: impl FnMut(u64),
    ) -> Result<(), ComponentError> {
        self.route(stream, told);
        let emitted = self.emitted;
        for &task in &*told {
            self.send_direct(stream, task, anchor, &mut registered)?;
        }
        self.emitted = emitted + 1;
        Ok(())
    }

    /// Chooses the tasks that the row that was written last goes to.
    fn route(&mut self, stream: usize, told: &mut Vec<u32>) {
        for edge in &mut self.streams[stream].edges {
            let first = self.open.target(edge.first);
            // A choice may depend on those before it, so it is made once, and each task is then named.
            match edge.router.route(Row::new(&self.row)) {
                Target::One(task) => told.push(first + task),
                Target::All => told.extend(first..first + edge.router.tasks()),
                Target::Chosen => told.extend(edge.router.chosen().iter().map(|task| first + task)),
            }
        }
    }

    fn send_to(
        &mut self,
        stream: usize,
        task: Option<u32>,
        anchor: Option<(GroupId, u8)>,
    ) -> Result<(), ComponentError> {
        match task {
            None => {
                self.send(stream, anchor, |_| {});
                Ok(())
            }
            Some(task) => self.send_direct(stream, task, anchor, |_| {}),
        }
    }

    /// Sends the row that was written last to task `task`; see [`Output::send`].
    ///
    /// # Errors
    /// If the task does not read the stream.
    pub fn send_direct(
        &mut self,
        stream: usize,
        task: u32,
        anchor: Option<(GroupId, u8)>,
        mut registered: impl FnMut(u64),
    ) -> Result<(), ComponentError> {
        let index = self.frame_to(stream, task)?;
        self.put_direct(index, pusher(anchor, &mut registered));
        Ok(())
    }

    fn put_direct(&mut self, index: usize, mut push: impl FnMut(&mut FrameBuilder, &[u8])) {
        self.emitted += 1;
        self.open.put(index, &self.row, &mut push);
    }

    /// Which open frame goes to a task that reads a stream.
    fn frame_to(&self, stream: usize, task: u32) -> Result<usize, ComponentError> {
        let declared = &self.streams[stream];
        let index = declared.edges.iter().find_map(|edge| {
            let position = task.checked_sub(self.open.target(edge.first))?;
            (position < edge.router.tasks()).then_some(edge.first + position as usize)
        });
        index.ok_or_else(|| {
            ComponentError::Tuple(format!(
                "component '{}' named task {task} for its stream '{}', and that is no task of a component that reads it",
                self.component, declared.name
            ))
        })
    }
}
