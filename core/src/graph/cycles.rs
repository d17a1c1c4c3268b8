//! Strongly connected components in topological order. Source: Tarjan 1972, without recursion.

/// The strongly connected components of a graph of `nodes` nodes, each behind all that lead to it.
pub(super) fn stages(nodes: usize, edges: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let mut targets = vec![Vec::new(); nodes];
    for &(from, to) in edges {
        targets[from].push(to);
    }
    let mut search = Search {
        index: vec![usize::MAX; nodes],
        low: vec![0; nodes],
        ..Search::default()
    };
    search.on_stack = vec![false; nodes];
    for node in 0..nodes {
        if search.index[node] == usize::MAX {
            search.visit(node, &targets);
        }
    }
    // Tarjan finds a component before those that lead to it.
    search.found.reverse();
    search.found
}

#[derive(Default)]
struct Search {
    next: usize,
    index: Vec<usize>,
    low: Vec<usize>,
    stack: Vec<usize>,
    on_stack: Vec<bool>,
    found: Vec<Vec<usize>>,
}

impl Search {
    fn visit(&mut self, root: usize, targets: &[Vec<usize>]) {
        let mut calls = vec![(root, 0)];
        while let Some((node, next)) = calls.pop() {
            if next == 0 {
                self.index[node] = self.next;
                self.low[node] = self.next;
                self.next += 1;
                self.stack.push(node);
                self.on_stack[node] = true;
            }
            match targets[node].get(next) {
                Some(&target) => {
                    calls.push((node, next + 1));
                    if self.index[target] == usize::MAX {
                        calls.push((target, 0));
                    } else if self.on_stack[target] {
                        self.low[node] = self.low[node].min(self.index[target]);
                    }
                }
                None => self.leave(node, calls.last().map(|call| call.0)),
            }
        }
    }

    fn leave(&mut self, node: usize, caller: Option<usize>) {
        if let Some(caller) = caller {
            self.low[caller] = self.low[caller].min(self.low[node]);
        }
        if self.low[node] == self.index[node] {
            let mut members = Vec::new();
            while let Some(member) = self.stack.pop() {
                self.on_stack[member] = false;
                members.push(member);
                if member == node {
                    break;
                }
            }
            members.sort_unstable();
            self.found.push(members);
        }
    }
}
