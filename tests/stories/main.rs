//! Stories: what the users of an installation live through, told over real HTTP and the real command line, with real
//! processes, in both modes.
//!
//! A story is an async function of the mode. It takes the shared installation, or one of its own where it breaks
//! things, and a tenant of its own; it never sleeps for luck, and says what it waited for when that does not come.
//! The table below makes two tests of each, `embedded::..` and `services::..`; with
//! `ORCHESTRATOR_TEST_MODE=embedded` only the first half does something.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the whole program is tests; a panic is how they fail, and output is shown when they do"
)]

mod harness;

macro_rules! stories {
    ($($chapter:ident: $($story:ident),+;)+) => {
        $(mod $chapter;)+
        stories!(@mode embedded Embedded $($chapter: $($story),+;)+);
        stories!(@mode services Services $($chapter: $($story),+;)+);
    };
    (@mode $name:ident $mode:ident $($chapter:ident: $($story:ident),+;)+) => {
        mod $name {
            $(mod $chapter {
                $(#[tokio::test]
                async fn $story() {
                    let mode = crate::harness::Mode::$mode;
                    if mode.is_wanted() {
                        crate::$chapter::$story(mode).await;
                    }
                })+
            })+
        }
    };
}

stories! {
    way_of_a_job:
        a_session_is_followed_from_its_creation_to_its_diff;
}
