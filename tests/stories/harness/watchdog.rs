//! Sees to it that nothing outlives the tests, even when they are killed: a small shell that knows the process groups
//! in use, and ends them when this process is gone, which it notices by the end of its input.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = r#"
groups=
while read -r verb group; do
  rest=
  for other in $groups; do [ "$other" = "$group" ] || rest="$rest $other"; done
  case $verb in
    watch) groups="$rest $group" ;;
    forget) groups=$rest ;;
  esac
done
for group in $groups; do kill -KILL "-$group"; done
"#;

pub fn watch(group: i32) {
    tell("watch", group);
}

pub fn forget(group: i32) {
    tell("forget", group);
}

fn tell(verb: &str, group: i32) {
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| Mutex::new(start()));
    let mut shell = shell
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Without the watchdog the stands still clean up after themselves.
    if let Some(input) = &mut shell.stdin {
        let _ = writeln!(input, "{verb} {group}");
    }
}

/// Nobody waits for it: it outlives this process by a moment, and that is what it is for.
fn start() -> Child {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Not reached by the Ctrl-C that ends the tests.
        .process_group(0)
        .spawn()
        .expect("/bin/sh can be started")
}
