//! The pieces that the stories have as well, and what only faults need: servers of this program's own, wires that can
//! be cut, a load whose acknowledgements are remembered.

#[path = "../../stories/harness/api.rs"]
#[expect(dead_code, reason = "the stories use the rest of it")]
mod api;
#[path = "../../stories/harness/binary.rs"]
mod binary;
mod load;
mod marks;
mod member;
#[path = "../../stories/harness/process.rs"]
#[expect(dead_code, reason = "the stories use the rest of it")]
mod process;
mod servers;
mod stand;
#[path = "../../stories/harness/wait.rs"]
#[expect(dead_code, reason = "the stories use the rest of it")]
mod wait;
#[path = "../../stories/harness/watchdog.rs"]
mod watchdog;
mod watcher;
mod wire;
mod work;

pub use api::Api;
pub use binary::checkout;
pub use load::Acknowledged;
pub use marks::Mark;
pub use member::Member;
pub use servers::{Server, Servers, Site};
pub use stand::{PAST_LEASE, Stand, number};
pub use wait::{PATIENCE, eventually};
pub use wire::Wire;
pub use work::Work;
