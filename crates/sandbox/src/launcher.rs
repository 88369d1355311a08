//! The threads that children are made on.
//!
//! `PR_SET_PDEATHSIG` is about the parent *thread*: a container made by a worker of a thread pool
//! would be killed when the pool retires that worker. So every child is made on a thread that is
//! kept for this, and ends only with the process; or on the caller's own, when that is known to
//! outlive the child, which saves waking another one and being woken. A thread is busy until its
//! child has executed its program (`CLONE_VFORK`); as many are started as children are made at once.

#![expect(unsafe_code, reason = "clone3(2)")]

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::child;
use crate::ids::{Ids as Everyone, Shift};
use crate::plan::Plan;
use crate::sys::{self, CloneArgs, Stack};
use crate::user_namespace;

/// A child to be made.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) plan: Box<Plan>,
    /// New namespaces for it, as `CLONE_NEW*`.
    pub(crate) namespaces: i32,
    /// v2 control group it is born in.
    pub(crate) cgroup: Option<OwnedFd>,
    /// A process whose PID namespace it is born in. It does not share memory then: the processes
    /// there might look into it.
    pub(crate) inside: Option<OwnedFd>,
    /// A network namespace that it is born in.
    pub(crate) network: Option<OwnedFd>,
    /// What the user namespace gets that is among `namespaces`.
    pub(crate) ids: Option<Ids>,
}

/// The ids of a child's user namespace, and the ends of the pipes of its plan: where it says that it is
/// born, and where it hears that it has them.
#[derive(Debug)]
pub(crate) struct Ids {
    pub(crate) shift: Shift,
    pub(crate) born: OwnedFd,
    pub(crate) tell: OwnedFd,
}

/// A child that runs its program, or has failed to and has reported it.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Given back, for the names in it.
    pub(crate) plan: Box<Plan>,
}

/// Makes a child. Returns when it has executed its program or ended.
pub(crate) fn launch(launch: Launch) -> io::Result<Launched> {
    // Whoever has entered the container's PID namespace gets back by the rights of the host's root only.
    let comes_back = launch.inside.is_none() || Everyone::own().are_all();
    on_launcher(move |stack| make(launch, comes_back, stack), comes_back)?
}

/// As [`launch`], on this thread, which must live as long as the child.
pub(crate) fn launch_here(launch: Launch) -> io::Result<Launched> {
    thread_local! {
        static STACK: OnceCell<Stack> = const { OnceCell::new() };
    }
    prepare()?;
    STACK.with(|cell| {
        let stack = match cell.get() {
            Some(stack) => stack,
            None => {
                let stack = Stack::new()?;
                cell.get_or_init(|| stack)
            }
        };
        make(launch, true, stack)
    })
}

type Job = Box<dyn FnOnce(&Stack) + Send>;

/// Runs `job` on an idle launcher, or on a new one; it serves others afterwards, unless it is not to.
fn on_launcher<T: Send + 'static>(
    job: impl FnOnce(&Stack) -> T + Send + 'static,
    serves_others: bool,
) -> io::Result<T> {
    static IDLE: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());
    static SPENT: Mutex<Vec<Sender<Job>>> = Mutex::new(Vec::new());
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);

    let thread = idle().pop();
    let thread = thread.map_or_else(start, Ok)?;
    let (done, result) = mpsc::channel();
    let job = Box::new(move |stack: &Stack| {
        // Somebody waits below.
        let _ = done.send(job(stack));
    });
    let gone = |()| io::Error::other("a launcher thread has ended");
    thread.send(job).map_err(|_| gone(()))?;
    let result = result.recv().map_err(|_| gone(()))?;
    if serves_others {
        idle().push(thread);
    } else {
        // Its child would die with it.
        SPENT.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
    Ok(result)
}

/// Signals that the C library needs to reach every thread with.
const LIBC_SIGNALS: u64 = 1 << (32 - 1) | 1 << (33 - 1);

/// To be done before the first child is made.
fn prepare() -> io::Result<()> {
    // What it is before any child has changed it.
    dumpable();
    Ok(sys::keep_children()?)
}

fn start() -> io::Result<Sender<Job>> {
    prepare()?;
    let stack = Stack::new()?;
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("bld-sandbox".to_owned()).stack_size(256 << 10).spawn(
        move || {
            // Signals are for the other threads.
            let _ = sys::set_signal_mask(!LIBC_SIGNALS);
            for job in jobs {
                job(&stack);
            }
        },
    )?;
    Ok(sender)
}

/// Whether core dumps and debuggers were allowed when the first child was made.
fn dumpable() -> usize {
    static AT_START: OnceLock<usize> = OnceLock::new();
    *AT_START.get_or_init(sys::dumpable)
}

fn make(launch: Launch, comes_back: bool, stack: &Stack) -> io::Result<Launched> {
    let Launch { mut plan, namespaces, cgroup, inside, network, ids } = launch;
    let number = Arc::new(AtomicI32::new(0));
    // This thread waits until the child has executed its program, and can't do it.
    let giver = ids.map(|ids| {
        let number = Arc::clone(&number);
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || give(&ids, &number))
    });
    let giver = giver.transpose()?;
    if let Some(network) = &network {
        sys::enter_namespaces(network, libc::CLONE_NEWNET)?;
    }
    if let Some(container) = &inside {
        // Of this thread's children only; the thread itself stays where it is.
        if comes_back {
            own_pid_namespace()?;
        }
        sys::enter_namespaces(container, libc::CLONE_NEWPID)?;
    }
    let made = clone(&plan, namespaces, cgroup.as_ref(), inside.is_none(), &number, stack);
    if network.is_some() {
        own_namespace(&NET, "net")
            .and_then(|own| Ok(sys::enter_namespaces(own, libc::CLONE_NEWNET)?))?;
    }
    // The other end of its pipe: where no child was born, nobody else has it.
    plan.birth = None;
    if let Some(giver) = giver {
        let _given = giver.join();
    }
    if inside.is_some() && comes_back {
        own_pid_namespace().and_then(|own| Ok(sys::enter_namespaces(own, libc::CLONE_NEWPID)?))?;
    }
    let (pid, pidfd) = made?;
    Ok(Launched { pid, pidfd, plan })
}

fn own_pid_namespace() -> io::Result<&'static File> {
    static PID: OnceLock<File> = OnceLock::new();
    own_namespace(&PID, "pid")
}

/// The process's own network namespace.
static NET: OnceLock<File> = OnceLock::new();

fn own_namespace(cell: &'static OnceLock<File>, kind: &str) -> io::Result<&'static File> {
    if let Some(own) = cell.get() {
        return Ok(own);
    }
    let own = File::open(format!("/proc/self/ns/{kind}"))?;
    Ok(cell.get_or_init(|| own))
}

/// Gives a child its ids as soon as it is born, and tells it whether that went well.
fn give(ids: &Ids, number: &AtomicI32) {
    if matches!(rustix::io::read(&ids.born, &mut [0]), Ok(1)) {
        let given = user_namespace::give(number.load(Ordering::Acquire), ids.shift).is_ok();
        let _told = rustix::io::write(&ids.tell, &[u8::from(given)]);
    }
}

fn clone(
    plan: &Plan,
    namespaces: i32,
    cgroup: Option<&OwnedFd>,
    share_memory: bool,
    number: &AtomicI32,
    stack: &Stack,
) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: i32 = -1;
    let (base, size) = stack.range();
    let mut flags =
        (libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID | namespaces) as u64;
    if share_memory {
        flags |= libc::CLONE_VM as u64;
    }
    if cgroup.is_some() {
        flags |= sys::CLONE_INTO_CGROUP;
    }
    let args = CloneArgs {
        flags,
        pidfd: &raw mut pidfd as u64,
        parent_tid: number.as_ptr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: base,
        stack_size: size,
        cgroup: cgroup.map_or(0, |fd| fd.as_raw_fd() as u64),
        ..CloneArgs::default()
    };
    // No handler of this process may run in the child, which has its memory but not its threads.
    let mask = sys::set_signal_mask(u64::MAX)?;
    if !share_memory {
        // The copy is born with it: nobody in the container may look at what this process knows.
        if let Err(error) = sys::set_dumpable(0) {
            sys::set_signal_mask(mask)?;
            return Err(error.into());
        }
    }
    let plan: *const Plan = plan;
    // SAFETY: the stack is this thread's and free, the thread is suspended until the child is done
    // with both stack and plan, signals are blocked, and `child::main` keeps to the rules.
    let result = unsafe { sys::clone3(&args, child::main, plan.cast()) };
    sys::set_signal_mask(mask)?;
    // A child that changed its user has also changed this for the shared memory.
    if sys::dumpable() != dumpable() {
        sys::set_dumpable(dumpable())?;
    }
    let pid = result?;
    // SAFETY: the kernel has put a new descriptor there.
    Ok((pid, unsafe { sys::own(pidfd as usize) }))
}
