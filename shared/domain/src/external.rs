//! A registered agent that does the work of a session by the External Agent Protocol, as the run that it was given to
//! needs it. Made by the claim, never by a client.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{AgentId, Eap};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    pub agent: AgentId,
    /// As it is registered.
    pub name: String,
    /// Where it takes tasks; absent for one that asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// What kind of work it is; absent: `coding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Files of the worktree that it is handed, relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// The session's own words to it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input_data: Map<String, Value>,
}

impl External {
    /// What it is told of its task, as any other external agent is.
    pub fn to_eap(&self) -> Eap {
        Eap {
            name: self.name.clone(),
            task_type: self.task_type.clone(),
            files: self.files.clone(),
            input_data: self.input_data.clone(),
        }
    }
}
