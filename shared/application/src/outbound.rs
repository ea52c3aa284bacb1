//! Where others may have us send requests to. Whoever registers an address makes this system call it from inside its own
//! network, so addresses of that network are refused unless the operator named them.
//!
//! Nothing is sent here. A name is looked up when it is registered, and again by whoever calls it
//! ([`OutboundPolicy::look_up`]), since names may be pointed elsewhere.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use url::{Host, Url};

/// A name server that does not answer in this time has none.
const LOOK_UP: Duration = Duration::from_secs(5);

/// Hosts and networks that may be called although they are not public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundPolicy {
    pub allowed: Vec<Destination>,
}

/// A host by its name, or a network: `agents.internal`, `10.1.0.0/16`, `127.0.0.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Host(String),
    Network { address: IpAddr, bits: u8 },
}

/// The text names no host and no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host and not a network; write agents.internal, 10.1.0.0/16 or 127.0.0.1")]
pub struct NotADestination(pub String);

impl FromStr for Destination {
    type Err = NotADestination;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotADestination(text.chars().take(128).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
            return if bits <= most {
                Ok(Self::Network { address, bits })
            } else {
                Err(wrong())
            };
        }
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        if bits.is_some() || text.is_empty() || !text.chars().all(in_name) {
            return Err(wrong());
        }
        Ok(Self::Host(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Network { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}

impl Serialize for Destination {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why an address may not be called; says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(pub String);

impl OutboundPolicy {
    /// Looks the host up and checks every address that it has.
    pub async fn check(&self, text: &str) -> Result<(), NotAllowed> {
        match self.check_form(text)? {
            // The producer need not know the names of a network that workers are in.
            Some((name, _)) if self.names(&name) => Ok(()),
            Some((name, port)) => self.look_up(&name, port).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Checks what can be seen without looking anything up: the form, and an address that stands in it itself. Returns
    /// the name and the port that are to be looked up, if the host is a name.
    pub fn check_form(&self, text: &str) -> Result<Option<(String, u16)>, NotAllowed> {
        let (host, port) = parts(text)?;
        match host {
            Host::Ipv4(address) => self.allowed_address("", IpAddr::V4(address))?,
            Host::Ipv6(address) => self.allowed_address("", IpAddr::V6(address))?,
            Host::Domain(name) => return Ok(Some((canonical(&name), port))),
        }
        Ok(None)
    }

    /// The addresses of a host; an error when one of them may not be called. Whoever calls the host calls these and looks
    /// up no others.
    pub async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, NotAllowed> {
        let name = canonical(host);
        let unknown = || {
            NotAllowed(format!(
                "the host {name} is not known to this server's name service"
            ))
        };
        let found = tokio::net::lookup_host((name.as_str(), port));
        let found = tokio::time::timeout(LOOK_UP, found)
            .await
            .map_err(|_| unknown())?
            .map_err(|_| unknown())?;
        let found: Vec<SocketAddr> = found.collect();
        for address in &found {
            self.allowed_address(&name, address.ip())?;
        }
        Ok(found)
    }

    /// True when `address`, which `host` was found at, may be called.
    pub fn allows(&self, host: &str, address: IpAddr) -> bool {
        self.names(host) || is_public(address) || self.holds(address)
    }

    fn allowed_address(&self, host: &str, address: IpAddr) -> Result<(), NotAllowed> {
        if self.allows(host, address) {
            return Ok(());
        }
        Err(NotAllowed(format!(
            "leads to {address}, which is not a public address; an operator can allow it with \
             ORCHESTRATOR_AGENT_NETWORKS"
        )))
    }

    fn names(&self, host: &str) -> bool {
        let named = |it: &Destination| matches!(it, Destination::Host(name) if name == host);
        self.allowed.iter().any(named)
    }

    fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|destination| match destination {
            Destination::Host(_) => false,
            Destination::Network { address: net, bits } => {
                in_network(address, net.to_canonical(), *bits)
            }
        })
    }
}

/// As the operator's list has names.
fn canonical(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Host and port of a URL that could be called.
fn parts(text: &str) -> Result<(Host<String>, u16), NotAllowed> {
    let wrong = |why: &str| NotAllowed(why.to_owned());
    let url = Url::parse(text).map_err(|error| NotAllowed(format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold a user name or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(
            "must not hold a query or a fragment: paths are added to it",
        ));
    }
    let host = url.host().map(|host| host.to_owned());
    let host = host.ok_or_else(|| wrong("must name a host"))?;
    Ok((host, url.port_or_known_default().unwrap_or(443)))
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let rest = width.saturating_sub(bits.into());
        rest >= width || a >> rest == b >> rest
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

/// False for this machine, the link, the cloud's metadata, private networks and whatever is no single host.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    // 192.0.0.0/24 has a metadata service in it, 198.18.0.0/15 is for benchmarks, 240.0.0.0/4 reserved.
    let special = matches!(
        address.octets(),
        [192, 0, 0, _] | [198, 18 | 19, ..] | [240..=255, ..]
    );
    !(first == 0
        || shared
        || special
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Global unicast alone; of that, addresses that embed one of IPv4 (6to4, NAT64 is outside) are judged by it.
    let segments = address.segments();
    if segments[0] == 0x2002 {
        let [a, b] = segments[1].to_be_bytes();
        let [c, d] = segments[2].to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    let documentation = segments[0] == 0x2001 && segments[1] == 0xdb8;
    let teredo = segments[0] == 0x2001 && segments[1] == 0;
    segments[0] & 0xe000 == 0x2000 && !documentation && !teredo
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &str) -> OutboundPolicy {
        let allowed = allowed.split_whitespace().map(|it| it.parse().unwrap());
        OutboundPolicy {
            allowed: allowed.collect(),
        }
    }

    #[tokio::test]
    async fn addresses_of_ones_own_network_are_refused() {
        for url in [
            "http://127.0.0.1:9000/eap",
            "http://127.1/",
            "http://0/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://169.254.169.254/latest",
            "http://192.0.0.192/",
            "http://10.0.0.1/",
            "http://172.16.3.4/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:169.254.169.254]/",
            "http://[2002:7f00:1::]/",
            "http://[64:ff9b::7f00:1]/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
        ] {
            assert!(policy("").check(url).await.is_err(), "{url}");
        }
        for url in [
            "http://93.184.215.14/eap",
            "https://[2606:4700::1111]:8443/",
        ] {
            assert_eq!(policy("").check(url).await, Ok(()), "{url}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_to_call_is_refused() {
        for url in [
            "",
            "agent",
            "ftp://93.184.215.14/",
            "file:///etc/passwd",
            "http://user:secret@93.184.215.14/",
            "http://93.184.215.14/?x=1",
            "http://93.184.215.14/#x",
        ] {
            assert!(policy("0.0.0.0/0").check(url).await.is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn an_operator_allows_hosts_and_networks() {
        let policy = policy("127.0.0.0/8 fd00::/8 Agents.Internal");
        for url in [
            "http://127.0.0.1:9000/",
            "http://[::ffff:127.0.0.1]/",
            "http://[fd12::1]/",
            "http://agents.internal/eap",
        ] {
            assert_eq!(policy.check(url).await, Ok(()), "{url}");
        }
        assert!(policy.allows("agents.internal", Ipv4Addr::LOCALHOST.into()));
        for url in ["http://10.0.0.1/", "http://[fe80::1]/"] {
            assert!(policy.check(url).await.is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_it_is_called() {
        // Known on every machine, and the same as a name that was pointed elsewhere since it was registered.
        let error = policy("").look_up("localhost.", 80).await.unwrap_err();
        assert!(error.0.contains("ORCHESTRATOR_AGENT_NETWORKS"), "{error}");
        let found = policy("localhost").look_up("LOCALHOST", 80).await.unwrap();
        assert!(found.iter().all(|it| it.ip().is_loopback()), "{found:?}");
    }

    #[test]
    fn a_destination_is_a_host_or_a_network() {
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "a/8",
            "http://a",
            "a b",
            "::1/129",
        ] {
            assert!(wrong.parse::<Destination>().is_err(), "{wrong}");
        }
        let network: Destination = "10.0.0.0/8".parse().unwrap();
        assert_eq!(network.to_string(), "10.0.0.0/8");
    }
}
