//! Turns the contract into Rust without a protoc: protox parses it, tonic-prost-build writes the code.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

const PACKAGE: &str = "twinlock.v1";

const FILES: [&str; 3] =
    ["twinlock/v1/two_step.proto", "twinlock/v1/admin.proto", "twinlock/v1/operator.proto"];

/// The texts that a log may show. A message that has any other field of type string or bytes is
/// redacted, so that a field that is added later is hidden until somebody lists it here.
const PRINTABLE_FIELDS: [&str; 15] = [
    "actor_id",
    "admin_user_id",
    "advice",
    "after_event_id",
    "caller",
    "event_id",
    "how",
    "ip_address",
    "key_id",
    "namespace",
    "reason",
    "type",
    "user_agent",
    "user_id",
    "why",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new([env!("CARGO_MANIFEST_DIR")])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let descriptors = compiler.file_descriptor_set();

    let services = ours(&descriptors).flat_map(|file| &file.service);
    let methods = services.flat_map(|service| &service.method);
    let names: Vec<&str> = methods.map(|method| method.name()).collect();
    std::fs::write(out.join("methods.rs"), format!("{names:?}"))?;

    let redacted = redacted_messages(&descriptors);
    std::fs::write(out.join("redacted.rs"), redacted_debug(&redacted))?;

    tonic_prost_build::configure()
        .build_client(false)
        .codec_path("crate::codec::RequestCodec")
        .skip_debug(redacted.iter().map(|message| format!(".{PACKAGE}.{}", message.name())))
        .compile_fds(descriptors.clone())?;

    let server = out.join(format!("{PACKAGE}.rs"));
    std::fs::write(&server, made_in_place(&std::fs::read_to_string(&server)?)?)?;

    // The clients are generated apart, because one pass knows one codec, and an answer that cannot
    // be read is the server's fault and not the caller's.
    let clients = out.join("clients");
    std::fs::create_dir_all(&clients)?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(format!(".{PACKAGE}"), "crate::v1")
        .out_dir(clients)
        .compile_fds(descriptors)?;
    Ok(())
}

/// The futures of a server made in the boxes where they are to stay. As they are generated, each is made on the
/// stack and then copied, which is 2 kB for a call.
fn made_in_place(server: &str) -> Result<String, Box<dyn Error>> {
    let (made, boxed) = ("let fut = async move {", "Box::pin(fut)");
    let futures = server.matches(made).count();
    if futures == 0 || futures != server.matches(boxed).count() {
        return Err("tonic generates other code now: look where it boxes futures".into());
    }
    Ok(server
        .replace(made, &format!("let place = Box::new_uninit();\n{made}"))
        .replace(boxed, "let fut = Box::write(place, fut);\nBox::into_pin(fut)"))
}

/// Our own files, without what they import.
fn ours(descriptors: &FileDescriptorSet) -> impl Iterator<Item = &FileDescriptorProto> {
    descriptors.file.iter().filter(|file| file.package() == PACKAGE)
}

fn redacted_messages(descriptors: &FileDescriptorSet) -> Vec<DescriptorProto> {
    ours(descriptors)
        .flat_map(|file| &file.message_type)
        .filter(|message| {
            message.field.iter().any(|field| {
                matches!(field.r#type(), Type::String | Type::Bytes)
                    && !PRINTABLE_FIELDS.contains(&field.name())
            })
        })
        .cloned()
        .collect()
}

/// One `redact!` line for each message, and for each of its oneofs, which prost leaves without a
/// `Debug` together with it.
fn redacted_debug(messages: &[DescriptorProto]) -> String {
    let mut source = String::new();
    for message in messages {
        let _ = writeln!(source, "redact!(crate::v1::{});", message.name().to_upper_camel_case());
        for (index, oneof) in message.oneof_decl.iter().enumerate() {
            // proto3 writes `optional` as a oneof of its own, which has no Rust type.
            let real = message
                .field
                .iter()
                .any(|field| field.oneof_index == Some(index as i32) && !field.proto3_optional());
            if real {
                let module = message.name().to_snake_case();
                let name = oneof.name().to_upper_camel_case();
                let _ = writeln!(source, "redact!(crate::v1::{module}::{name});");
            }
        }
    }
    source
}
