use super::*;

const URI: &str = "otpauth://totp/Example:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn found(format: Format, text: &str) -> Vec<Found> {
    read(format, text, &Hints::default()).expect("a file that can be read")
}

/// What became of each entry, the skipped ones in words.
fn outcomes(format: Format, text: &str) -> Vec<String> {
    let entries = assign(format, found(format, text), &Users::default()).expect("a known name");
    let outcome = |entry: Entry| match entry.taken {
        Ok((user, _)) => format!("{}: {user}", entry.place),
        Err(skipped) => format!("{}: {skipped}", entry.place),
    };
    entries.into_iter().map(outcome).collect()
}

fn unreadable(format: Format, text: &str) -> Unreadable {
    read(format, text, &Hints::default()).map(|found| found.len()).expect_err("no file")
}

#[test]
fn formats_are_told_by_their_content() {
    for (text, expected) in [
        (URI, Ok(Format::Otpauth)),
        ("\r\n OTPAUTH://totp/x", Ok(Format::Otpauth)),
        ("otpauth-migration://offline?data=x", Ok(Format::GoogleAuthenticator)),
        (r#"{"user_id":"a","otpauth_uri":"b"}"#, Ok(Format::Otpauth)),
        (r#"[{"user":"a","url":"b"}]"#, Ok(Format::Otpauth)),
        ("user_id,otpauth_uri\n", Ok(Format::Otpauth)),
        (r#"[{"model":"otp_totp.totpdevice","pk":1,"fields":{}}]"#, Ok(Format::DjangoOtp)),
        (r#"{"realm":"example","users":[]}"#, Ok(Format::Keycloak)),
        (r#"{"request_id":"x","data":{"url":"y"}}"#, Ok(Format::Vault)),
        (r#"[{"id":"x","credentials":{},"schema_id":"default"}]"#, Ok(Format::Kratos)),
        ("gAAAAABrBWQh", Ok(Format::PrivacyIdea)),
        ("<?xml version='1.0'?><KeyContainer/>", Ok(Format::PrivacyIdea)),
        ("a@b, TOTP1, 00, totp, 6, 30", Ok(Format::PrivacyIdea)),
        (r#"[{"serial":"x","otpkey":"00"}]"#, Ok(Format::PrivacyIdea)),
        ("user_id,device_name,secret_key\n", Ok(Format::SuperTokens)),
        (r#"{"user_id":"a","device_name":"b","secret_key":"c"}"#, Ok(Format::SuperTokens)),
        // Two could be meant, or none.
        (r#"{"data":{},"url":"x"}"#, Err(Unreadable::UnknownFormat)),
        (r#"{"realm":"example"}"#, Err(Unreadable::UnknownFormat)),
        ("alice,bob\n", Err(Unreadable::UnknownFormat)),
        ("[]", Err(Unreadable::UnknownFormat)),
        ("[5]", Err(Unreadable::UnknownFormat)),
        ("", Err(Unreadable::UnknownFormat)),
        ("\u{0}\u{1}", Err(Unreadable::UnknownFormat)),
        ("{", Err(Unreadable::NotJson { line: 1 })),
        ("[{},\n", Err(Unreadable::NotJson { line: 2 })),
    ] {
        assert_eq!(Format::detect(text), expected, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_with_the_line() {
    assert_eq!(text(b"\xef\xbb\xbfuser").unwrap(), "user");
    assert_eq!(text(b"a\nb\n\xff"), Err(Unreadable::NotUtf8 { line: 3 }));
    assert_eq!(text(b"\xff\xfea\0"), Err(Unreadable::Utf16));
    assert_eq!(text(b"\xfe\xff\0a"), Err(Unreadable::Utf16));
}

#[test]
fn one_bad_line_loses_no_other() {
    let lines = format!(
        "{{\"user_id\":\"a\",\"otpauth_uri\":\"{URI}\"}}\r\n\r\n{{\"user_id\":\r\n\
         {{\"user_id\":\"b\",\"otpauth_uri\":5}}\n{{\"user_id\":7,\"otpauth_uri\":\"{URI}\"}}\n\
         {{\"user_id\":\"c\"}}\n{{\"otpauth_uri\":\"{URI}\"}}\n\
         {{\"user_id\":\"a\",\"otpauth_uri\":\"{URI}\"}}\n\
         {{\"user_id\":\"d\",\"userId\":\"e\",\"otpauth_uri\":\"{URI}\"}}\n\
         {{\"user_id\":\" {URI}\",\"otpauth_uri\":\"{URI}\"}}\n5\n"
    );
    assert_eq!(
        outcomes(Format::Otpauth, &lines),
        [
            "entry 1 (line 1): a",
            "entry 2 (line 3): the line is no JSON",
            "entry 3 (line 4): otpauth_uri is given twice or is not of its type",
            "entry 4 (line 5): 7",
            "entry 5 (line 6): otpauth_uri is missing",
            "entry 6 (line 7): it names no user_id; --user-from takes another name (it has account)",
            "entry 7 (line 8): the same user was in entry 1 (line 1) already, and one has one authenticator",
            "entry 8 (line 9): it is not of its form, or gives a field twice",
            "entry 9 (line 10): the user id is an otpauth URI; are the columns mixed up?",
            "entry 10 (line 11): it is not of its form, or gives a field twice",
        ]
    );
}

#[test]
fn a_user_who_is_skipped_may_come_again() {
    let lines = format!("user_id,otpauth_uri\nalice,otpauth://totp/x?secret=GE\nalice,{URI}\n");
    let outcomes = outcomes(Format::Otpauth, &lines);
    assert_eq!(outcomes[1], "entry 2 (line 3): alice");
}

#[test]
fn an_open_quote_is_told_and_takes_no_line_in_silence() {
    let text = format!("user_id,otpauth_uri\na,{URI}\n\"b,{URI}\nc,{URI}\n");
    assert_eq!(
        outcomes(Format::Otpauth, &text)[1],
        "entry 2 (line 3): a field goes over more than one line; is a quote not closed?"
    );
}

#[test]
fn names_are_chosen_and_looked_up() {
    let mapping = Users::mapping("\"user_id\",serial\nu-1,TOTP1\n").unwrap();
    assert_eq!(mapping["TOTP1"], "u-1");
    let text = r#"[{"serial":"TOTP1","type":"totp"},{"serial":"TOTP2","type":"hotp"}]"#;
    let assigned = |users: &Users| {
        let found = found(Format::PrivacyIdea, text);
        assign(Format::PrivacyIdea, found, users).map(|entries| {
            entries.into_iter().map(|entry| entry.called.unwrap_or_default()).collect::<Vec<_>>()
        })
    };
    let users = Users { name: Some("serial".into()), ids: Some(mapping) };
    assert_eq!(assigned(&users).unwrap(), ["u-1", "TOTP2"]);
    let unknown = Users { name: Some("phone".into()), ids: None };
    let problem = assigned(&unknown).unwrap_err().to_string();
    assert_eq!(
        problem,
        "The format privacyidea tells no phone of its users. It tells login, owner, uid, serial."
    );
}

#[test]
fn a_mapping_must_be_without_doubt() {
    for (text, problem) in [
        ("", Unreadable::MappingHeader),
        ("serial,user\na,b\n", Unreadable::MappingHeader),
        ("user_id\na\n", Unreadable::MappingHeader),
        ("serial,user_id,more\na,b,c\n", Unreadable::MappingHeader),
        ("serial,user_id\na,b\nc,\n", Unreadable::MappingLine { line: 3 }),
        ("serial,user_id\na,b,c\n", Unreadable::MappingLine { line: 2 }),
        ("serial,user_id\n\"a,b\nc,d\n", Unreadable::MappingLine { line: 2 }),
        ("serial,user_id\na,b\na,c\n", Unreadable::MappingTwice { line: 3 }),
    ] {
        assert_eq!(Users::mapping(text).unwrap_err(), problem, "{text}");
    }
    assert_eq!(Users::mapping("serial,user_id\na,b\na,b\n").unwrap().len(), 1);
}

#[test]
fn a_missing_part_of_an_export_is_told() {
    let sample = include_str!("../../../tests/tests/import/samples/google-authenticator.txt");
    let (first, second) = sample.trim().split_once('\n').expect("two lines");
    let missing = "of an export in 2 parts, 1 is missing; it comes in several QR codes";
    for (part, place) in [(first, 4), (second, 4)] {
        let outcomes = outcomes(Format::GoogleAuthenticator, part);
        assert_eq!(outcomes[3], format!("entry {place} (line 1): {missing}"));
    }
    let both = outcomes(Format::GoogleAuthenticator, &format!("{second}\n{first}\n{second}"));
    assert!(both.iter().all(|outcome| !outcome.contains("missing")), "{both:?}");
}

#[test]
fn readers_of_qr_codes_may_have_decoded_the_uri() {
    let sample = include_str!("../../../tests/tests/import/samples/google-authenticator.txt");
    let expected = found(Format::GoogleAuthenticator, sample).len();
    let (start, _) = sample.split_once("%3D").expect("padding");
    let undecoded = sample.lines().next().expect("a line");
    for line in [format!("{start}="), start.to_owned(), undecoded.replace("otpauth", "OTPAUTH")] {
        let read = found(Format::GoogleAuthenticator, &line);
        assert_eq!(read.len(), expected / 2 + 1, "{line}");
    }
}

#[test]
fn what_is_no_file_of_its_format_is_refused() {
    let line_2 = Unreadable::NotJson { line: 2 };
    for format in [Format::DjangoOtp, Format::Keycloak, Format::Vault, Format::Kratos] {
        for text in ["[\n{\"model\":", "{}\n{", "\n{]", "[\n1,]"] {
            assert_eq!(unreadable(format, text), line_2, "{format}: {text}");
        }
        assert_eq!(unreadable(format, ""), Unreadable::Empty(format));
    }
    assert_eq!(unreadable(Format::Otpauth, ""), Unreadable::NoColumn("otpauth_uri"));
    assert_eq!(unreadable(Format::Otpauth, "otpauth_uri\nx"), Unreadable::NoColumn("user_id"));
    assert_eq!(unreadable(Format::SuperTokens, "a,b"), Unreadable::NoColumn("user_id"));
    assert_eq!(
        unreadable(Format::Keycloak, r#"{"realm":"x"}"#),
        Unreadable::Empty(Format::Keycloak)
    );
    assert_eq!(
        unreadable(Format::PrivacyIdea, "a, b, 00, totp, 6, 30"),
        Unreadable::AlgorithmNeeded
    );
    assert_eq!(unreadable(Format::PrivacyIdea, "gAAAAA"), Unreadable::KeyNeeded);
}

#[test]
fn parts_of_other_types_are_told_one_by_one() {
    let nothing = ["null", "5", "\"x\"", "[]", "[[]]", "{}", "{\"fields\":[]}", "true", "1e999"];
    let list = format!("[{}]", nothing.join(","));
    for format in [Format::Otpauth, Format::DjangoOtp, Format::Vault, Format::PrivacyIdea] {
        assert!(outcomes(format, &list).len() >= 6, "{format}");
    }
    let old =
        r#"{"users":[{"id":"a","credentials":[{"type":"totp","value":"x"},{"type":"password"}]}]}"#;
    let said = "entry 1 (line 1): it is of Keycloak 7 or older, which has another form; export from a newer one";
    assert_eq!(outcomes(Format::Keycloak, old), [said]);
    let users = r#"{"users":[null,5,{"credentials":5},{"credentials":[null,5,{"type":"otp"}]}]}"#;
    assert_eq!(outcomes(Format::Keycloak, users).len(), 6);
}

#[test]
fn depth_costs_no_stack() {
    let depth = 200_000;
    let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let object =
        format!("{{\"users\":{json},\"data\":{json},\"credentials\":{json},\"x\":{json}}}");
    for format in Format::value_variants() {
        for text in [&json, &object, &json[..depth], &format!("[{object}]")] {
            let hints = Hints { key: None, algorithm: Some(Algorithm::Sha1) };
            if let Ok(found) = read(*format, text, &hints) {
                assert!(found.iter().all(|found| found.authenticator.is_err()), "{format}");
            }
        }
    }
    let xml =
        format!("<KeyContainer>{}{}</KeyContainer>", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(unreadable(Format::PrivacyIdea, &xml), Unreadable::Empty(Format::PrivacyIdea));
}

#[test]
fn entities_are_refused_unread() {
    let laughs = r#"<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>
        <KeyContainer>&b;</KeyContainer>"#;
    assert_eq!(unreadable(Format::PrivacyIdea, laughs), Unreadable::NotXml("it has a DTD"));
}

#[test]
fn no_problem_quotes_the_file() {
    let canary = "CANARY";
    let texts = [
        r#"[{"model":"otp_totp.totpdevice","pk":1,"fields":{"user":1,"confirmed":true,"key":"CANARY"}}]"#,
        r#"[{"model":"otp_totp.totpdevice","pk":1,"fields":{"user":1,"confirmed":"CANARY"}}]"#,
        r#"{"realm":"x","users":[{"id":"1","credentials":[{"type":"otp","secretData":"CANARY",
            "credentialData":"CANARY"}]},{"id":"CANARY","enabled":true,"credentials":"CANARY"}]}"#,
        r#"{"data":{"url":"CANARY"}}"#,
        r#"{"data":"CANARY"}"#,
        r#"[{"id":"x","schema_id":"y","credentials":{"totp":{"config":{"totp_url":"CANARY"}}}}]"#,
        "user_id,device_name,secret_key,period,verified\nx,y,CANARY,30,t\nx,y,z,CANARY,CANARY\n",
        r#"{"user_id":"a","otpauth_uri":"CANARY"}"#,
        "otpauth-migration://offline?data=CANARY",
        "otpauth://totp/?secret=CANARY",
        "a@b, TOTP1, CANARY, totp, 6, 30",
        "<KeyContainer><CANARY></KeyContainer>",
        "gAAAAACANARY",
    ];
    for text in texts {
        let format = Format::detect(text).expect(text);
        let key = Some(Zeroizing::new("CANARY".into()));
        let hints = Hints { key, algorithm: Some(Algorithm::Sha1) };
        let said = match read(format, text, &hints) {
            Err(unreadable) => format!("{unreadable} {unreadable:?}"),
            Ok(found) => {
                let said = found.iter().map(|found| match &found.authenticator {
                    Ok(authenticator) => format!("{authenticator:?}"),
                    Err(skipped) => format!("{skipped} {skipped:?}"),
                });
                said.collect::<Vec<_>>().join(" ")
            }
        };
        assert!(!said.is_empty() && !said.contains(canary), "{text}: {said}");
    }
}

#[test]
fn samples_that_are_cut_or_damaged_anywhere_end_in_words() {
    macro_rules! sample {
        ($name:literal) => {
            include_str!(concat!("../../../tests/tests/import/samples/", $name))
        };
    }
    let samples = [
        sample!("otpauth.jsonl"),
        sample!("otpauth.csv"),
        sample!("otpauth.txt"),
        sample!("google-authenticator.txt"),
        sample!("django-otp.json"),
        sample!("keycloak.json"),
        sample!("vault.json"),
        sample!("kratos.json"),
        sample!("privacyidea.pi"),
        sample!("privacyidea.csv"),
        sample!("privacyidea.xml"),
        sample!("supertokens.csv"),
        sample!("supertokens.json"),
    ];
    for sample in samples {
        let whole = sample.trim_start_matches('\u{feff}');
        let format = Format::detect(whole).expect("a known format");
        let key = match format {
            Format::PrivacyIdea if whole.starts_with('<') => sample!("privacyidea.xml.key"),
            _ => sample!("privacyidea.pi.key"),
        };
        let key = Some(Zeroizing::new(key.to_owned()));
        let hints = Hints { key, algorithm: Some(Algorithm::Sha1) };
        let taken = |text: &str| {
            let _ = Format::detect(text);
            let found = read(format, text, &hints).unwrap_or_default();
            let entries = assign(format, found, &Users::default()).expect("a known name");
            entries.iter().filter(|entry| entry.taken.is_ok()).count()
        };
        let most = read(format, whole, &hints).expect("entries").len();
        for offset in (0..whole.len()).step_by(3) {
            // ASCII throughout, so that every offset is one of a character.
            assert!(taken(&whole[..offset]) <= most);
            let other = if whole.as_bytes()[offset] == b'"' { ',' } else { '"' };
            let damaged = format!("{}{other}{}", &whole[..offset], &whole[offset + 1..]);
            assert!(taken(&damaged) <= most + 1, "{damaged}");
        }
    }
}
