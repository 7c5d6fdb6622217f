use super::*;
use data_encoding::HEXLOWER;

fn sha256(token: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref())
}

fn by_token(name: &str, roles: &[Role]) -> config::Caller {
    config::Caller {
        name: name.into(),
        token_sha256: Some(sha256(&format!("{name}-token"))),
        roles: roles.to_vec(),
        namespace: name.into(),
        ..config::Caller::default()
    }
}

fn by_name(name: &str, san: &str) -> config::Caller {
    config::Caller { name: name.into(), san: Some(san.into()), ..config::Caller::default() }
}

fn callers() -> Callers {
    let user = config::Caller { name: "local".into(), uid: Some(1000), ..<_>::default() };
    Callers::new(&[
        by_token("shop", &[Role::Product]),
        by_token("desk", &[Role::Admin]),
        by_name("web", "Web.Internal"),
        by_name("web", "spiffe://cluster.local/ns/shop/sa/web"),
        by_name("jobs", "jobs.internal"),
        user,
    ])
    .expect("callers")
}

fn with(name: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().expect("a header"))])
}

fn certified(names: &[&str]) -> Peer {
    let name = |name: &&str| SubjectName::parse(name).expect("a name");
    let address = "192.0.2.1:4711".parse().expect("an address");
    Peer::over_tcp(address, Some(names.iter().map(name).collect()))
}

fn known(headers: &HeaderMap, peer: Option<&Peer>) -> Result<String, Stranger> {
    let caller = callers().authenticate(headers, peer, Role::Product)?;
    Ok(caller.name.to_string())
}

#[test]
fn a_token_names_its_caller_and_namespace() {
    let headers = with("authorization", "bearer shop-token");
    let caller = callers().authenticate(&headers, None, Role::Product).expect("known");
    assert_eq!((&*caller.name, caller.namespace.as_str()), ("shop", "shop"));
}

#[test]
fn no_token_a_wrong_one_and_a_wrong_role_are_refused() {
    assert_eq!(known(&HeaderMap::new(), None), Err(Stranger::Nobody));
    for wrong in ["Bearer nobody", "Bearer", "Basic shop-token", "Bearer shop-token ", ""] {
        let headers = with("authorization", wrong);
        assert_eq!(known(&headers, None), Err(Stranger::WrongToken), "{wrong:?}");
    }
    let mut two = with("authorization", "Bearer shop-token");
    two.append(AUTHORIZATION, "Bearer shop-token".parse().expect("a header"));
    assert_eq!(known(&two, None), Err(Stranger::WrongToken));
    let headers = with("authorization", "Bearer desk-token");
    assert_eq!(known(&headers, None), Err(Stranger::Forbidden));
}

#[test]
fn a_certificate_is_known_by_exactly_its_names() {
    let none = HeaderMap::new();
    let name = |names: &[&str]| known(&none, Some(&certified(names)));
    assert_eq!(name(&["web.internal"]), Ok("web".into()));
    assert_eq!(name(&["other.internal", "WEB.INTERNAL"]), Ok("web".into()));
    assert_eq!(name(&["spiffe://cluster.local/ns/shop/sa/web"]), Ok("web".into()));
    let both = ["web.internal", "spiffe://cluster.local/ns/shop/sa/web"];
    assert_eq!(name(&both), Ok("web".into()), "two names of one caller");
    assert_eq!(name(&["web.internal", "jobs.internal"]), Err(Stranger::TwoCallers));
    for unknown in [
        &[][..],
        &["internal"],
        &["a.web.internal"],
        &["spiffe://cluster.local/ns/shop/sa/Web"],
        &["spiffe://cluster.local/ns/shop/sa/web/"],
        &["https://web.internal"],
    ] {
        assert_eq!(name(unknown), Err(Stranger::UnknownCertificate), "{unknown:?}");
    }
}

#[test]
fn a_token_decides_whatever_certificate_comes_with_it() {
    let web = certified(&["web.internal"]);
    let right = with("authorization", "Bearer shop-token");
    assert_eq!(known(&right, Some(&web)), Ok("shop".into()));
    assert_eq!(known(&right, Some(&certified(&["unknown.internal"]))), Ok("shop".into()));
    for wrong in ["Bearer nobody", "Bearer ", "Basic d2Vi"] {
        let headers = with("authorization", wrong);
        assert_eq!(known(&headers, Some(&web)), Err(Stranger::WrongToken), "{wrong:?}");
    }
}

#[test]
fn a_user_of_this_machine_is_known_by_the_socket() {
    let none = HeaderMap::new();
    assert_eq!(known(&none, Some(&Peer::over_unix(Some(1000)))), Ok("local".into()));
    for unknown in [0, 1001] {
        let peer = Peer::over_unix(Some(unknown));
        assert_eq!(known(&none, Some(&peer)), Err(Stranger::UnknownUser), "{unknown}");
    }
    assert_eq!(known(&none, Some(&Peer::over_unix(None))), Err(Stranger::Nobody));
}

#[test]
fn pages_in_a_browser_are_refused_though_anybody_else_is_let_in() {
    let anybody = Callers::new(&[]).expect("callers");
    for (name, value) in [
        ("origin", "http://127.0.0.1:6238"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let refused = anybody.authenticate(&with(name, value), None, Role::Product);
        assert_eq!(refused, Err(Stranger::Browser), "{name}: {value}");
    }
    assert!(anybody.authenticate(&with("sec-fetch-site", "none"), None, Role::Product).is_ok());
}

#[test]
fn callers_are_replaced_and_never_by_nobody() {
    let callers = Callers::new(&[by_token("shop", &[Role::Product])]).expect("callers");
    let shop = with("authorization", "Bearer shop-token");
    let desk = with("authorization", "Bearer desk-token");
    let changes = callers.replace(&[by_token("desk", &[Role::Product])]).expect("callers");
    assert_eq!(changes, (vec!["desk".to_owned()], vec!["shop".to_owned()]));
    assert!(callers.authenticate(&desk, None, Role::Product).is_ok());
    assert_eq!(callers.authenticate(&shop, None, Role::Product), Err(Stranger::WrongToken));
    assert!(callers.replace(&[]).is_err());
    let nobody = callers.authenticate(&HeaderMap::new(), None, Role::Product);
    assert_eq!(nobody, Err(Stranger::Nobody));
    let count = |why: &str| callers.refused().find(|(it, _)| *it == why).map(|(_, count)| count);
    assert_eq!((count("unknown_token"), count("no_credential")), (Some(1), Some(1)));
}

#[tokio::test]
async fn who_is_no_caller_any_more_is_revoked() {
    let (shop, desk) = (by_token("shop", &[Role::Product]), by_token("desk", &[Role::Admin]));
    let callers = Arc::new(Callers::new(&[shop.clone(), desk.clone()]).expect("callers"));
    let headers = with("authorization", "Bearer desk-token");
    let caller = callers.authenticate(&headers, None, Role::Admin).expect("known");
    let revoked = tokio::spawn(callers.revoked(caller, Role::Admin));
    let renamed = config::Caller { name: "front desk".into(), ..desk.clone() };
    callers.replace(&[renamed]).expect("callers");
    tokio::task::yield_now().await;
    assert!(!revoked.is_finished(), "only its name changed");
    let demoted = config::Caller { roles: vec![Role::Product], ..desk };
    callers.replace(&[shop, demoted]).expect("callers");
    assert_eq!(revoked.await.expect("it ends"), Stranger::Revoked);
}
