//! Launches as few as they can be: those of one kernel that are independent of each other are one, whose argument is a table of
//! their grids and arguments (`calls.cuh`). What each computes is the same, to the bit. To start a kernel takes longer than to
//! update a small layer, and an optimizer has a kernel for each parameter.

use super::launch::{Asked, ConvolutionWork, Launch, LaunchArgument, Place, PlannedCall, Pointer, Product, Work};
use std::borrow::Cow;

/// What the device is asked to start.
pub(super) enum Task {
    Kernel(Launch),
    Calls(Joined),
    Product(Product, Launch),
    Convolution(Box<ConvolutionWork>),
}

/// Several calls of one kernel.
pub(super) struct Joined {
    /// The kernel, with the blocks of all; its argument is the table.
    pub(super) launch: Launch,
    calls: Vec<Call>,
    /// Of the table, which may have room for more calls.
    bytes: usize,
}

struct Call {
    first: u32,
    grid: [u32; 2],
    arguments: Vec<LaunchArgument>,
}

/// Bytes before the arguments of a call: its first block and its grid.
const HEAD: usize = 16;

/// Every argument begins at a multiple of so many bytes.
const SLOT: usize = 8;

/// The most blocks of a launch.
const MOST_BLOCKS: usize = i32::MAX as usize;

/// The tasks of a piece of work, where a kernel takes arguments of `most` bytes.
pub(super) fn tasks(work: Work, most: usize) -> Vec<Task> {
    let launches = match work {
        Work::Kernel(launch) => return vec![Task::Kernel(launch)],
        Work::Product(product, launch) => return vec![Task::Product(product, launch)],
        Work::Convolution(work) => return vec![Task::Convolution(work)],
        Work::Together(launches) => launches,
    };
    let mut kernels: Vec<Vec<Launch>> = Vec::new();
    for launch in launches {
        match kernels.iter_mut().find(|known| known[0].is_same_kernel(&launch)) {
            Some(known) => known.push(launch),
            None => kernels.push(vec![launch]),
        }
    }
    kernels.into_iter().flat_map(|launches| joined(launches, most)).collect()
}

/// The calls of one kernel in as few launches as the sizes of tables and grids allow.
fn joined(launches: Vec<Launch>, most: usize) -> Vec<Task> {
    let each = HEAD + launches[0].arguments.iter().map(slots).sum::<usize>();
    let room = most / each;
    let (mut tasks, mut part, mut blocks) = (Vec::new(), Vec::new(), 0);
    for launch in launches {
        let more = launch.grid.iter().map(|&n| n as usize).product::<usize>();
        if part.len() >= room || blocks + more > MOST_BLOCKS {
            tasks.extend(task(std::mem::take(&mut part), each, room));
            blocks = 0;
        }
        blocks += more;
        part.push(launch);
    }
    tasks.extend(task(part, each, room));
    tasks
}

/// Launches of one kernel as one, with a table of one of few sizes: each is a kernel of its own.
fn task(mut launches: Vec<Launch>, each: usize, room: usize) -> Option<Task> {
    if launches.len() < 2 {
        return launches.pop().map(Task::Kernel);
    }
    let capacity = launches.len().next_power_of_two().min(room);
    let (mut first, mut calls) = (0, Vec::with_capacity(launches.len()));
    for Launch { grid: [x, y, _], arguments, .. } in &mut launches {
        calls.push(Call { first, grid: [*x, *y], arguments: std::mem::take(arguments) });
        first += *x * *y;
    }
    let launch = launches.swap_remove(0).define("CALLS", capacity.to_string()).grid(first, 1, 1);
    Some(Task::Calls(Joined { launch, calls, bytes: each * capacity }))
}

/// Bytes of an argument in a table.
fn slots(argument: &LaunchArgument) -> usize {
    let bytes = match argument {
        LaunchArgument::Pointer(_) => size_of::<u64>(),
        LaunchArgument::Bytes(bytes) => bytes.len(),
        LaunchArgument::Faults => size_of::<[u64; 2]>(),
    };
    bytes.next_multiple_of(SLOT)
}

impl Joined {
    /// The table, with the addresses of this run.
    pub(super) fn table(&self, address: &dyn Fn(Place) -> u64, faults: &[u64; 2]) -> Vec<u8> {
        let mut table = Vec::with_capacity(self.bytes);
        for Call { first, grid: [x, y], arguments } in &self.calls {
            [*first, *x, *y, 0].iter().for_each(|number| table.extend(number.to_ne_bytes()));
            for argument in arguments {
                match argument {
                    LaunchArgument::Pointer(pointer) => table.extend(address(pointer.0).to_ne_bytes()),
                    LaunchArgument::Bytes(bytes) => table.extend_from_slice(bytes),
                    LaunchArgument::Faults => faults.iter().for_each(|part| table.extend(part.to_ne_bytes())),
                }
                table.resize(table.len().next_multiple_of(SLOT), 0);
            }
        }
        // Where there is no call, the first block is one behind all.
        table.resize(self.bytes, u8::MAX);
        table
    }
}

impl Joined {
    /// What of it is needed when its kernel is compiled already.
    pub(super) fn without_source(self) -> Joined {
        Joined { launch: self.launch.without_source(), ..self }
    }
}

impl Launch {
    /// What of it is needed when its kernel is compiled already.
    pub(super) fn without_source(self) -> Launch {
        Launch { source: Cow::Borrowed(""), defines: Vec::new(), ..self }
    }

    fn is_same_kernel(&self, other: &Launch) -> bool {
        let of = |launch: &Launch| (launch.entry, launch.block, launch.shared);
        let is_joinable = self.is_joinable && other.is_joinable;
        is_joinable && of(self) == of(other) && self.defines == other.defines && self.source == other.source
    }
}

/// Calls that are independent of each other and [joinable](Asked::is_joinable) as one.
pub(super) fn abreast(calls: Vec<PlannedCall>) -> Option<PlannedCall> {
    let mut calls = calls.into_iter();
    let mut all = calls.next()?;
    for call in calls {
        all.asked.join(call.asked, [all.x.len(), all.y.len()]);
        all.x.extend(call.x);
        all.y.extend(call.y);
        all.rooms.extend(call.rooms);
    }
    Some(all)
}

impl Asked {
    /// Takes in what another asks for that is independent of this: what each wants first together, then what each wants next. The
    /// other's operands and results are counted from these numbers on, its rooms from the number of those here.
    pub(super) fn join(&mut self, other: Asked, [x, y]: [usize; 2]) {
        let rooms = self.rooms.len();
        let moved = |place| match place {
            Place::Input(i) => Place::Input(x + i),
            Place::Output(i) => Place::Output(y + i),
            Place::Room(i) => Place::Room(rooms + i),
        };
        for (stage, work) in other.work.into_iter().enumerate() {
            let mut launches = work.launches();
            for argument in launches.iter_mut().flat_map(|launch| &mut launch.arguments) {
                if let LaunchArgument::Pointer(Pointer(place)) = argument {
                    *place = moved(*place);
                }
            }
            if stage == self.work.len() {
                self.work.push(Work::Together(Vec::new()));
            }
            let before = std::mem::replace(&mut self.work[stage], Work::Together(Vec::new()));
            self.work[stage] = Work::Together(before.launches().into_iter().chain(launches).collect());
        }
        self.rooms.extend(other.rooms);
        self.is_pointwise &= other.is_pointwise;
    }
}

impl Work {
    fn launches(self) -> Vec<Launch> {
        match self {
            Work::Kernel(launch) => vec![launch],
            Work::Together(launches) => launches,
            Work::Product(..) | Work::Convolution(_) => unreachable!("what a library does is not joined"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(source: &'static str, blocks: u32, number: i64) -> Launch {
        Launch::new(source, "k").joinable().grid(blocks, 2, 1).arg(Pointer(Place::Input(3))).arg(1.5f32).arg(number)
    }

    #[test]
    fn launches_of_one_kernel_are_one() {
        let launches = vec![launch("a", 5, 1), launch("b", 1, 2), launch("a", 7, 3), launch("a", 1, 4)];
        let tasks = tasks(Work::Together(launches), 4096);
        let [Task::Calls(joined), Task::Kernel(alone)] = &tasks[..] else { panic!("{} tasks", tasks.len()) };
        assert_eq!((joined.launch.grid, &*alone.source), ([26, 1, 1], "b"));
        assert_eq!(joined.launch.defines, [("CALLS", Cow::from("4"))]);
        let table = joined.table(&|_| 77, &[0; 2]);
        let words: Vec<u32> = table.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words.len(), 4 * 10);
        assert_eq!(words[10..20], [10, 7, 2, 0, 77, 0, 1.5f32.to_bits(), 0, 3, 0]);
        assert_eq!((words[20], words[30]), (24, u32::MAX));
    }

    #[test]
    fn tables_and_grids_have_an_end() {
        let of = |count: i64, blocks| (0..count).map(|i| launch("a", blocks, i)).collect::<Vec<_>>();
        let sizes = |launches: Vec<Launch>, most| -> Vec<usize> {
            let size = |task: &Task| if let Task::Calls(joined) = task { joined.calls.len() } else { 1 };
            tasks(Work::Together(launches), most).iter().map(size).collect()
        };
        // A call takes 40 bytes.
        assert_eq!(sizes(of(7, 1), 120), [3, 3, 1]);
        assert_eq!(sizes(of(3, 1), 0), [1, 1, 1]);
        assert_eq!(sizes(of(5, 1 << 29), 4096), [1, 1, 1, 1, 1]);
        assert_eq!(sizes(of(5, 1 << 28), 4096), [3, 2]);
    }
}
