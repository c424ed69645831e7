//! The address guard: which addresses an endpoint may have.
//! Endpoints are written by customers; without it, anybody who may name a URL could reach what only this machine
//! can reach. Pure: refuses to resolve names. A name is judged by the addresses that it has at connect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Lets through what is globally routable unicast, and what the operator allowed beyond that.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

/// Why an address is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ip} is {what}; if postcall is meant to reach it, start it with --allow-network {ip}/{}",
    if ip.is_ipv4() { 32 } else { 128 }
)]
pub struct Refused {
    /// The address, an embedded IPv4 address already taken out.
    pub ip: IpAddr,
    /// What kind of address it is, with its article.
    pub what: &'static str,
}

impl Guard {
    /// A guard that lets through the networks `allowed` too. An IPv4 network also covers the IPv6 forms of its
    /// addresses (IPv4-mapped, NAT64).
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Judges one address.
    ///
    /// # Errors
    /// What kind of address it is, when it is neither globally routable unicast nor allowed.
    pub fn check(&self, ip: IpAddr) -> Result<(), Refused> {
        let ip = ip.to_canonical();
        let reached = behind_nat64(ip).map_or(ip, IpAddr::V4);
        let Some(what) = special(reached) else { return Ok(()) };
        if self.allowed.iter().any(|net| net.contains(&ip) || net.contains(&reached)) {
            return Ok(());
        }
        Err(Refused { ip: reached, what })
    }

    /// Judges the URL of an endpoint when it is made: its shape, and its host as far as that needs no resolver.
    ///
    /// # Errors
    /// A sentence for who typed the URL.
    pub fn check_url(&self, url: &str) -> Result<Url, String> {
        let url = parse_url(url)?;
        let verdict = match url.host() {
            Some(Host::Ipv4(ip)) => self.check(ip.into()),
            Some(Host::Ipv6(ip)) => self.check(ip.into()),
            // RFC 6761, 6.3: these names are loopback, whatever a resolver says.
            Some(Host::Domain(name)) if is_localhost(name) => self
                .check(Ipv4Addr::LOCALHOST.into())
                .or_else(|refused| self.check(Ipv6Addr::LOCALHOST.into()).map_err(|_| refused)),
            _ => Ok(()),
        };
        verdict.map_err(|refused| format!("the URL points to an address that is not public: {refused}"))?;
        Ok(url)
    }
}

/// Reads a URL that can be posted to: http or https, a host, no credentials. The host comes out normalised
/// (WHATWG URL: `0x7f.1` is 127.0.0.1).
///
/// # Errors
/// A sentence for who typed the URL.
pub fn parse_url(url: &str) -> Result<Url, String> {
    let url = Url::parse(url)
        .map_err(|e| format!("this is not a URL ({e}); write it like https://example.com/webhook"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the URL begins with {}:, but only https: and http: can be posted to",
            url.scheme()
        ));
    }
    if !url.has_host() {
        return Err("the URL has no host; write it like https://example.com/webhook".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL holds credentials; put them into a header (Authorization) instead".to_owned());
    }
    Ok(url)
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// RFC 6052: the IPv4 address that a NAT64 forwards to. Machines without IPv4 see the whole IPv4 internet so.
fn behind_nat64(ip: IpAddr) -> Option<Ipv4Addr> {
    const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
    match ip {
        IpAddr::V6(ip) if NAT64.contains(&ip) => {
            let [.., a, b, c, d] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// What kind of address it is, unless it is globally routable unicast.
fn special(ip: IpAddr) -> Option<&'static str> {
    /// All of IPv6 unicast that was ever given out (IANA IPv6 address space, RFC 4291).
    const GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
    match ip {
        IpAddr::V4(ip) => SPECIAL_V4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, what)| *what),
        IpAddr::V6(ip) => SPECIAL_V6
            .iter()
            .find(|(net, _)| net.contains(&ip))
            .map(|(_, what)| *what)
            .or_else(|| (!GLOBAL.contains(&ip)).then_some("an IPv6 address that is not given out")),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d]: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// IANA IPv4 special-purpose address registry (RFC 6890, RFC 8190), as far as it is not globally reachable, and
/// what is no unicast. The last row is a public number that only answers inside Azure, to its guests.
const SPECIAL_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "an address of \"this\" network (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "a private address (RFC 1918)"),
    (v4(100, 64, 0, 0, 10), "an address of a carrier's shared space (RFC 6598)"),
    (v4(127, 0, 0, 0, 8), "a loopback address (RFC 1122)"),
    (v4(169, 254, 0, 0, 16), "a link-local address, where clouds keep instance metadata (RFC 3927)"),
    (v4(172, 16, 0, 0, 12), "a private address (RFC 1918)"),
    (v4(192, 0, 0, 0, 24), "an address for protocol assignments (RFC 6890)"),
    (v4(192, 0, 2, 0, 24), "an address for documentation (RFC 5737)"),
    (v4(192, 88, 99, 0, 24), "an address of former 6to4 relays (RFC 7526)"),
    (v4(192, 168, 0, 0, 16), "a private address (RFC 1918)"),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks (RFC 2544)"),
    (v4(198, 51, 100, 0, 24), "an address for documentation (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "an address for documentation (RFC 5737)"),
    (v4(224, 0, 0, 0, 4), "a multicast address (RFC 5771)"),
    (v4(255, 255, 255, 255, 32), "the broadcast address (RFC 919)"),
    (v4(240, 0, 0, 0, 4), "a reserved address (RFC 1112)"),
    (v4(168, 63, 129, 16, 32), "the address where Azure serves its guests"),
];

/// IANA IPv6 special-purpose address registry (RFC 6890, RFC 8190) likewise. The few protocol assignments that are
/// globally reachable (anycast for PCP and TURN, AMT, AS112) are no place for a webhook and are refused as well.
const SPECIAL_V6: [(Ipv6Net, &str); 15] = [
    (v6([0, 0, 0, 0], 128), "the unspecified address (RFC 4291)"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "the loopback address (RFC 4291)"),
    (v6([0, 0, 0, 0], 96), "an IPv4-compatible address, which is no longer routed (RFC 4291)"),
    (v6([0x64, 0xff9b, 1, 0], 48), "an address of a local NAT64 (RFC 8215)"),
    (v6([0x100, 0, 0, 0], 64), "an address that discards (RFC 6666)"),
    (v6([0x2001, 0, 0, 0], 32), "a Teredo address, which hides another one (RFC 4380)"),
    (v6([0x2001, 0, 0, 0], 23), "an address for protocol assignments (RFC 2928)"),
    (v6([0x2001, 0xdb8, 0, 0], 32), "an address for documentation (RFC 3849)"),
    (v6([0x2002, 0, 0, 0], 16), "a 6to4 address, which hides another one (RFC 3056)"),
    (v6([0x3fff, 0, 0, 0], 20), "an address for documentation (RFC 9637)"),
    (v6([0x5f00, 0, 0, 0], 16), "a segment routing address (RFC 9602)"),
    (v6([0xfc00, 0, 0, 0], 7), "a unique local address (RFC 4193)"),
    (v6([0xfe80, 0, 0, 0], 10), "a link-local address (RFC 4291)"),
    (v6([0xfec0, 0, 0, 0], 10), "a site-local address (RFC 3879)"),
    (v6([0xff00, 0, 0, 0], 8), "a multicast address (RFC 4291)"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed.iter().map(|net| net.parse().unwrap()).collect())
    }

    /// First and last address of each block, and its neighbours. Sources: the IANA registries
    /// `iana-ipv4-special-registry`, `iana-ipv6-special-registry` and `ipv6-address-space`.
    #[test]
    fn only_globally_routable_unicast_passes() {
        let refused = true;
        let passes = false;
        for (address, expected, why) in [
            ("0.0.0.0", refused, "unspecified; Linux connects it to loopback"),
            ("0.255.255.255", refused, "this network, last"),
            ("1.0.0.0", passes, "after this network"),
            ("9.255.255.255", passes, "before 10/8"),
            ("10.0.0.0", refused, "private, first"),
            ("10.255.255.255", refused, "private, last"),
            ("11.0.0.0", passes, "after 10/8"),
            ("100.63.255.255", passes, "before CGNAT"),
            ("100.64.0.0", refused, "CGNAT, first"),
            ("100.100.100.200", refused, "Alibaba's metadata, inside CGNAT"),
            ("100.127.255.255", refused, "CGNAT, last"),
            ("100.128.0.0", passes, "after CGNAT"),
            ("126.255.255.255", passes, "before loopback"),
            ("127.0.0.1", refused, "loopback"),
            ("127.255.255.255", refused, "loopback, last"),
            ("128.0.0.0", passes, "after loopback"),
            ("168.63.129.15", passes, "before Azure's host"),
            ("168.63.129.16", refused, "Azure's host, reachable from its guests only"),
            ("169.253.255.255", passes, "before link-local"),
            ("169.254.169.254", refused, "metadata of most clouds"),
            ("169.254.170.2", refused, "credentials of ECS tasks"),
            ("169.255.0.0", passes, "after link-local"),
            ("172.15.255.255", passes, "before 172.16/12"),
            ("172.16.0.0", refused, "private, first"),
            ("172.31.255.255", refused, "private, last"),
            ("172.32.0.0", passes, "after 172.16/12"),
            ("192.0.0.192", refused, "Oracle's metadata, inside protocol assignments"),
            ("192.0.0.255", refused, "protocol assignments, last"),
            ("192.0.1.0", passes, "between protocol assignments and documentation"),
            ("192.0.2.1", refused, "TEST-NET-1"),
            ("192.0.3.0", passes, "after TEST-NET-1"),
            ("192.88.99.1", refused, "6to4 relay anycast, deprecated"),
            ("192.167.255.255", passes, "before 192.168/16"),
            ("192.168.0.0", refused, "private, first"),
            ("192.168.255.255", refused, "private, last"),
            ("192.169.0.0", passes, "after 192.168/16"),
            ("198.17.255.255", passes, "before benchmarks"),
            ("198.18.0.0", refused, "benchmarks, first"),
            ("198.19.255.255", refused, "benchmarks, last"),
            ("198.20.0.0", passes, "after benchmarks"),
            ("198.51.100.7", refused, "TEST-NET-2"),
            ("203.0.113.7", refused, "TEST-NET-3"),
            ("223.255.255.255", passes, "last of IPv4 unicast"),
            ("224.0.0.1", refused, "multicast"),
            ("239.255.255.255", refused, "multicast, last"),
            ("240.0.0.1", refused, "reserved"),
            ("255.255.255.255", refused, "broadcast"),
            ("::", refused, "unspecified"),
            ("::1", refused, "loopback"),
            ("::7f00:1", refused, "IPv4-compatible loopback"),
            ("::8.8.8.8", refused, "IPv4-compatible is not routed, whatever is inside"),
            ("::ffff:127.0.0.1", refused, "IPv4-mapped loopback"),
            ("::ffff:169.254.169.254", refused, "IPv4-mapped metadata"),
            ("::ffff:8.8.8.8", passes, "IPv4-mapped public"),
            ("::ffff:0:127.0.0.1", refused, "IPv4-translated (SIIT, RFC 2765): not unicast space"),
            ("64:ff9b::7f00:1", refused, "NAT64 of loopback"),
            ("64:ff9b::a9fe:a9fe", refused, "NAT64 of metadata"),
            ("64:ff9b::8.8.8.8", passes, "NAT64 of a public address"),
            ("64:ff9b:1::8.8.8.8", refused, "local NAT64"),
            ("100::1", refused, "discard"),
            ("100:0:0:1::1", refused, "dummy prefix (RFC 9780)"),
            ("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", refused, "before global unicast"),
            ("2001::1", refused, "Teredo"),
            ("2001:2::1", refused, "benchmarks (RFC 5180)"),
            ("2001:10::1", refused, "ORCHID"),
            ("2001:20::1", refused, "ORCHIDv2"),
            ("2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", refused, "protocol assignments, last"),
            ("2001:200::1", passes, "after protocol assignments"),
            ("2001:db8::1", refused, "documentation"),
            ("2001:db9::1", passes, "after documentation"),
            ("2001:4860:4860::8888", passes, "a public resolver"),
            ("2002:7f00:1::1", refused, "6to4 of loopback"),
            ("2002:808:808::1", refused, "6to4, deprecated"),
            ("2606:4700::1111", passes, "a public network"),
            ("3fff::1", refused, "documentation"),
            ("3fff:1000::1", passes, "after documentation"),
            ("4000::1", refused, "after global unicast"),
            ("5f00::1", refused, "segment routing"),
            ("fc00::1", refused, "unique local, first"),
            ("fd00:ec2::254", refused, "AWS metadata over IPv6"),
            ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", refused, "unique local, last"),
            ("fe80::1", refused, "link-local"),
            ("febf::1", refused, "link-local, last"),
            ("fec0::1", refused, "site-local"),
            ("ff02::1", refused, "multicast"),
        ] {
            let verdict = guard(&[]).check(address.parse().unwrap());
            assert_eq!(verdict.is_err(), expected, "{address}: {why}: {verdict:?}");
        }
    }

    #[test]
    fn an_allowed_network_passes_in_every_form() {
        for (allowed, address, expected, why) in [
            ("10.0.0.0/8", "10.1.2.3", true, "inside"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true, "the same address, IPv4-mapped"),
            ("10.0.0.0/8", "64:ff9b::10.1.2.3", true, "the same address behind NAT64"),
            ("10.0.0.0/8", "172.16.0.1", false, "another private network"),
            ("10.0.0.0/8", "127.0.0.1", false, "not loopback"),
            ("10.0.0.0/8", "2002:a01:203::1", false, "6to4 is never unwrapped"),
            ("::1/128", "::1", true, "loopback of IPv6"),
            ("::1/128", "127.0.0.1", false, "not that of IPv4"),
            ("::/0", "::ffff:10.1.2.3", false, "IPv4-mapped is IPv4: all of IPv6 does not cover it"),
            ("64:ff9b::/96", "64:ff9b::10.1.2.3", true, "everything behind NAT64"),
            ("0.0.0.0/0", "127.0.0.1", true, "all of IPv4"),
            ("0.0.0.0/0", "::1", false, "not IPv6"),
            ("fd00::/8", "fd00:ec2::254", true, "unique local"),
        ] {
            let verdict = guard(&[allowed]).check(address.parse().unwrap());
            assert_eq!(verdict.is_ok(), expected, "{address} with {allowed}: {why}");
        }
    }

    #[test]
    fn a_refusal_names_its_remedy() {
        let refused = |ip: &str| guard(&[]).check(ip.parse().unwrap()).unwrap_err().to_string();
        assert!(refused("10.1.2.3").contains("--allow-network 10.1.2.3/32"));
        assert!(refused("::ffff:10.1.2.3").contains("--allow-network 10.1.2.3/32"));
        assert!(refused("fd00::1").contains("--allow-network fd00::1/128"));
    }

    /// Notations of addresses: WHATWG URL, "IPv4 parser".
    #[test]
    fn urls_are_judged_when_an_endpoint_is_made() {
        for (url, expected, why) in [
            ("https://example.com/hook?x=1#y", None, "an ordinary one"),
            ("http://example.com:8080", None, "plain http is allowed"),
            ("https://8.8.8.8/", None, "a public address"),
            ("https://10.example.com/", None, "a name that only begins like an address"),
            ("https://notlocalhost/", None, "another name"),
            ("http://127.0.0.1/", Some("--allow-network 127.0.0.1/32"), "loopback"),
            ("http://2130706433/", Some("--allow-network 127.0.0.1/32"), "loopback as one number"),
            ("http://0x7f.1/", Some("--allow-network 127.0.0.1/32"), "loopback in hex, shortened"),
            ("http://0177.0.0.01/", Some("--allow-network 127.0.0.1/32"), "loopback in octal"),
            ("http://127.0.0.1./", Some("--allow-network 127.0.0.1/32"), "loopback with a root dot"),
            ("http://①②⑦.0.0.1/", Some("--allow-network 127.0.0.1/32"), "loopback in circled digits"),
            ("http://[::1]:80/", Some("--allow-network ::1/128"), "loopback of IPv6"),
            ("http://[::ffff:a00:1]/", Some("--allow-network 10.0.0.1/32"), "private, IPv4-mapped"),
            ("http://localhost:3000/", Some("--allow-network 127.0.0.1/32"), "loopback by name"),
            ("http://LocalHost./", Some("--allow-network"), "loopback by name, spelt differently"),
            ("http://a.b.localhost/", Some("--allow-network"), "loopback by name"),
            ("ftp://example.com/", Some("only https: and http:"), "another scheme"),
            ("file:///etc/passwd", Some("only https: and http:"), "a file"),
            ("example.com/hook", Some("not a URL"), "no scheme"),
            ("https://", Some("not a URL"), "no host"),
            ("", Some("not a URL"), "nothing"),
            ("https://user:pw@example.com/", Some("credentials"), "user and password"),
            ("https://user@example.com/", Some("credentials"), "user alone"),
            ("https://:pw@example.com/", Some("credentials"), "password alone"),
        ] {
            let verdict = guard(&[]).check_url(url);
            match (expected, verdict) {
                (None, Ok(_)) => {}
                (Some(part), Err(sentence)) => assert!(sentence.contains(part), "{url}: {sentence}"),
                (_, verdict) => panic!("{url}: {why}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn localhost_passes_when_either_loopback_is_allowed() {
        assert!(guard(&["127.0.0.0/8"]).check_url("http://localhost/").is_ok());
        assert!(guard(&["::1/128"]).check_url("http://x.localhost/").is_ok());
    }
}
