//! The part of `SplitterService` that changes limits: a member's share of turns, and those of the team. Owns the ranges; what follows from a
//! limit is the backend's business.

use super::{SplitterCalls, caller, invalid, limits, peer_id};
use crate::{
    backend::LimitsChange,
    v1::{SetPeerWeightLimitRequest, SetPeerWeightLimitResponse, UpdateLimitsRequest, UpdateLimitsResponse},
};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

impl SplitterCalls {
    pub(super) async fn limit_weight(
        &self,
        request: Request<SetPeerWeightLimitRequest>,
    ) -> Result<Response<SetPeerWeightLimitResponse>, Status> {
        let caller = caller(&request);
        let SetPeerWeightLimitRequest { peer, limit, request_id } = request.into_inner();
        let peer = peer_id(&peer)?;
        if limit.is_some_and(|limit| limit > limits::WEIGHT_LIMIT_MAX) {
            let most = limits::WEIGHT_LIMIT_MAX;
            let problem = format!(
                "is at most {most}, which is what a member gets that nothing limits; leave it out to take the limit away"
            );
            return Err(invalid("limit", problem));
        }
        let what = limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let backend = Arc::clone(&self.backend);
        let command = async move {
            let previous = backend.set_weight_limit(peer, limit).await?;
            Ok(SetPeerWeightLimitResponse { previous })
        };
        let subject = format!("{peer} limit={what}");
        self.mutations.run(&caller, "SetPeerWeightLimit", &request_id, &subject, command).await
    }

    pub(super) async fn change_limits(
        &self,
        request: Request<UpdateLimitsRequest>,
    ) -> Result<Response<UpdateLimitsResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let change = change(&request)?;
        let backend = Arc::clone(&self.backend);
        let command = async move {
            let limits = backend.update_limits(change).await?;
            Ok(UpdateLimitsResponse { limits: Some(limits) })
        };
        let subject = subject(&request);
        self.mutations.run(&caller, "UpdateLimits", &request.request_id, &subject, command).await
    }
}

/// What a request sets, if all of it is in range; otherwise every field that is not.
fn change(request: &UpdateLimitsRequest) -> Result<LimitsChange, Status> {
    let mut wrong: Vec<(&str, String)> = Vec::new();
    let mut small = |field, value: Option<u32>, least: u16, most: u16| {
        let value = value?;
        let fits = u16::try_from(value).ok().filter(|value| (least..=most).contains(value));
        if fits.is_none() {
            wrong.push((field, format!("is {least} to {most}, not {value}")));
        }
        fits
    };
    let team_size_max = small("team_size_max", request.team_size_max, 1, limits::TEAM_SIZE_MAX);
    let own_copies_max = small("own_copies_max", request.own_copies_max, 0, limits::OWN_COPIES_MAX);
    let uplink_bits_per_s = request.uplink_bits_per_s;
    if let Some(rate) = uplink_bits_per_s.filter(|rate| !(1..=limits::UPLINK_BITS_PER_S_MAX).contains(rate)) {
        let problem = format!("is 1 to {} bits a second, not {rate}", limits::UPLINK_BITS_PER_S_MAX);
        wrong.push(("uplink_bits_per_s", problem));
    }
    let ban = request.ban_ms.map(Duration::from_millis);
    if ban.is_some_and(|ban| ban > limits::BAN_MAX) {
        let problem = format!("is at most {}, a year", limits::BAN_MAX.as_millis());
        wrong.push(("ban_ms", problem));
    }
    if !wrong.is_empty() {
        return Err(all_invalid(&wrong));
    }
    let change = LimitsChange { team_size_max, own_copies_max, uplink_bits_per_s, ban };
    if change == LimitsChange::default() {
        return Err(invalid("team_size_max", "set this or another limit; GetTeam tells those in force"));
    }
    Ok(change)
}

/// Fields that make no sense, each with its problem; at least one.
fn all_invalid(wrong: &[(&str, String)]) -> Status {
    let told = wrong.iter().map(|(field, problem)| format!("{field}: {problem}"));
    let message = told.collect::<Vec<_>>().join("; ");
    let mut rest = wrong.iter();
    let (field, problem) = rest.next().expect("the caller has found one");
    let first = invalid(field, problem.as_str());
    let mut details = first.get_error_details();
    for (field, problem) in rest {
        details.add_bad_request_violation(*field, problem);
    }
    Status::with_error_details(first.code(), message, details)
}

/// For the audit, and to tell a request that comes again from another one.
fn subject(request: &UpdateLimitsRequest) -> String {
    let UpdateLimitsRequest { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms, request_id: _ } =
        request;
    let fields = [
        ("team_size_max", team_size_max.map(u64::from)),
        ("own_copies_max", own_copies_max.map(u64::from)),
        ("uplink_bits_per_s", *uplink_bits_per_s),
        ("ban_ms", *ban_ms),
    ];
    let set = fields.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    set.collect::<Vec<_>>().join(" ")
}
