//! `p2psp ctl weight-limit` and `p2psp ctl limits`: what an operator lets a member carry, and a team be.

use super::Ctl;
use crate::{
    cli::{LimitsArgs, WeightLimit},
    exit::Failure,
};
use p2psp_admin::v1;
use serde_json::json;

impl Ctl {
    pub(super) async fn weight_limit(&self, peer: &str, limit: WeightLimit) -> Result<(), Failure> {
        let peer = self.member(peer).await?;
        let request =
            v1::SetPeerWeightLimitRequest { peer: peer.clone(), limit: limit.0, request_id: String::new() };
        let previous = self.ask(self.connection.splitter().set_peer_weight_limit(request)).await?.previous;
        let line = format!("the weight limit of {peer} is {limit}; before: {}", WeightLimit(previous));
        self.screen.done(&line, &json!({ "peer": peer, "limit": limit.0, "previous": previous }));
        Ok(())
    }

    /// Changes the limits that are given; shows those in force.
    pub(super) async fn limits(&self, args: &LimitsArgs) -> Result<(), Failure> {
        if *args == LimitsArgs::default() {
            return self.get_limits().await;
        }
        let request = v1::UpdateLimitsRequest {
            team_size_max: args.team_size,
            own_copies_max: args.own_copies,
            uplink_bits_per_s: args.uplink.map(|rate| rate.0),
            ban_ms: args.ban.map(super::millis),
            request_id: String::new(),
        };
        let limits = self.ask(self.connection.splitter().update_limits(request)).await?.limits;
        self.screen.object("limits", &limits.unwrap_or_default());
        Ok(())
    }

    pub(super) async fn get_limits(&self) -> Result<(), Failure> {
        let team = self.ask(self.connection.splitter().get_team(v1::GetTeamRequest {})).await?.team;
        let v1::Team { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms, .. } =
            team.unwrap_or_default();
        let limits = v1::TeamLimits { team_size_max, own_copies_max, uplink_bits_per_s, ban_ms };
        self.screen.object("limits", &limits);
        Ok(())
    }
}
