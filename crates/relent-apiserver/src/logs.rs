//! The logs of pods: what a test has set, since no container runs here.

use serde_json::Value;

use super::{failure::Failure, object, request::Call, state::State};

/// GET of `pods/NAME/log`; `None` where there is nothing, not even an empty text.
pub(super) fn read(state: &State, call: &Call) -> Result<Option<String>, Failure> {
    let Some(pod) = state.store.get(&call.key(&call.name)) else {
        return Err(Failure::not_found(&call.resource, &call.name));
    };
    let lists = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"];
    let lists = lists.iter().filter_map(|list| pod.pointer(list).and_then(Value::as_array)).flatten();
    let names: Vec<&str> = lists.filter_map(|container| object::text(container, "/name")).collect();
    let asked = call.query.get("container");
    let container = match &names[..] {
        _ if !asked.is_empty() => asked,
        [one] => one,
        many => {
            let all = many.join(" ");
            return Err(Failure::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{all}]",
                call.name
            )));
        }
    };
    if !names.contains(&container) {
        return Err(Failure::bad_request(format!("container {container} is not valid for pod {}", call.name)));
    }
    let place = (call.namespace.clone(), call.name.clone(), container.to_owned());
    let Some(text) = state.logs.get(&place) else {
        if object::text(pod, "/spec/nodeName").is_none_or(str::is_empty) {
            return Ok(None);
        }
        return Err(Failure::not_implemented(&format!(
            "the log of container {container} of pod {}/{}, unless it is set by ApiServer::set_log",
            call.namespace, call.name
        )));
    };
    let mut text = text.as_str();
    if let Some(lines) = call.query.integer("tailLines")? {
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let body = text.strip_suffix('\n').unwrap_or(text);
        let from = body.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
        text = if lines == 0 { "" } else { &text[from..] };
    }
    if let Some(limit) = call.query.integer("limitBytes")? {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(text.len());
        let limit = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text = &text[..limit];
    }
    Ok(Some(text.to_owned()))
}
