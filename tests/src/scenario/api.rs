//! The API as its descriptors tell it, and the check that a scenario speaks of nothing else.

use super::value::Special;
use super::{Action, Call, End, Reasons, Scenario};
use anyhow::{Context, Result, ensure};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, MethodDescriptor,
    SerializeOptions,
};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(twinlock_proto::FILE_DESCRIPTOR_SET).expect("the API's descriptors")
});

/// A method by its name, which no two services share.
pub fn method(name: &str) -> Result<MethodDescriptor> {
    let services: Vec<_> = POOL.services().collect();
    let mut methods = services.iter().flat_map(|service| service.methods());
    methods.find(|method| method.name() == name).with_context(|| format!("no method {name:?}"))
}

/// The bytes of a request, from proto3 JSON.
pub fn encode(method: &MethodDescriptor, fields: Map<String, Value>) -> Result<Vec<u8>> {
    let message = DynamicMessage::deserialize(method.input(), Value::Object(fields))?;
    Ok(message.encode_to_vec())
}

/// An answer as proto3 JSON with default values written out, from its bytes.
pub fn decode(method: &MethodDescriptor, bytes: &[u8]) -> Result<Value> {
    written_out(&DynamicMessage::decode(method.output(), bytes)?)
}

/// The same from proto3 JSON that leaves out what it likes, and knows fields of its own.
pub fn complete(method: &MethodDescriptor, answer: &Value) -> Result<Value> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let output = method.output();
    written_out(&DynamicMessage::deserialize_with_options(output, answer, &options)?)
}

fn written_out(message: &DynamicMessage) -> Result<Value> {
    let options = SerializeOptions::new().skip_default_fields(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// The names of a service's methods.
pub fn methods(service: &str) -> Vec<String> {
    let service = POOL.get_service_by_name(&format!("twinlock.v1.{service}"));
    let service = service.expect("a service of the API");
    service.methods().map(|method| method.name().to_owned()).collect()
}

/// Checks what would otherwise fail late or, worse, pass unseen: fields and reasons that do not exist,
/// and variables that are not set yet.
pub fn check(scenario: &Scenario) -> Result<()> {
    let mut variables = BTreeSet::from(["user".to_owned()]);
    for step in &scenario.steps {
        check_action(&step.action, &mut variables).with_context(|| step.place.clone())?;
    }
    Ok(())
}

fn check_action(action: &Action, variables: &mut BTreeSet<String>) -> Result<()> {
    match action {
        Action::Wait(_) | Action::Restart => Ok(()),
        Action::Let(values) => {
            values.values().try_for_each(|value| check_variables(value, variables))?;
            variables.extend(values.keys().cloned());
            Ok(())
        }
        Action::Call(call) => check_call(call, variables),
    }
}

fn check_call(call: &Call, variables: &mut BTreeSet<String>) -> Result<()> {
    let method = method(&call.method)?;
    let mut known = variables.clone();
    if call.count > 1 {
        known.insert("n".into());
    }
    check_fields(&method.input(), &call.request, Special::IN_REQUESTS, &known)
        .context("request")?;
    for outcome in &call.outcomes {
        match &outcome.end {
            End::Answer(fields) => {
                check_fields(&method.output(), fields, Special::IN_ANSWERS, &known)
                    .context("expect")?;
            }
            End::Refused { reason, field, .. } => {
                let expected = Reasons::read()?.find(reason)?;
                ensure!(field.is_none() || expected.names_field, "{reason} names no field");
            }
        }
    }
    for (variable, path) in &call.save {
        let mut message = method.output();
        let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
        for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
            message = submessage(&message, parent)?;
        }
        field_exists(&message, last)?;
        variables.insert(variable.clone());
    }
    Ok(())
}

fn check_fields(
    message: &MessageDescriptor,
    fields: &Map<String, Value>,
    specials: &[&str],
    variables: &BTreeSet<String>,
) -> Result<()> {
    for (name, value) in fields {
        field_exists(message, name)?;
        check_variables(value, variables)?;
        let Value::Object(table) = value else { continue };
        match Special::name(table) {
            Some(special) => {
                ensure!(specials.contains(&special), "{name}: {special} does not belong here");
            }
            None => check_fields(&submessage(message, name)?, table, specials, variables)
                .with_context(|| name.clone())?,
        }
    }
    Ok(())
}

fn field_exists(message: &MessageDescriptor, name: &str) -> Result<()> {
    let field = message.get_field_by_json_name(name);
    ensure!(field.is_some(), "{} has no field {name:?}", message.name());
    Ok(())
}

fn submessage(message: &MessageDescriptor, name: &str) -> Result<MessageDescriptor> {
    let field = message.get_field_by_json_name(name);
    match field.map(|field| field.kind()) {
        Some(Kind::Message(inner)) => Ok(inner),
        _ => anyhow::bail!("{} has no message {name:?}", message.name()),
    }
}

fn check_variables(value: &Value, variables: &BTreeSet<String>) -> Result<()> {
    match value {
        Value::String(text) => {
            for (_, rest) in text.match_indices("${").map(|(at, _)| text.split_at(at + 2)) {
                let name = rest.split('}').next().unwrap_or_default();
                ensure!(variables.contains(name), "${{{name}}} is not set at this point");
            }
            Ok(())
        }
        Value::Object(table) => {
            table.values().try_for_each(|value| check_variables(value, variables))
        }
        Value::Array(values) => {
            values.iter().try_for_each(|value| check_variables(value, variables))
        }
        _ => Ok(()),
    }
}
