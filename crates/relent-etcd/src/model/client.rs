//! The calls of a client of the model.

use super::{ModelCall, ModelClient, Release, membership::Change};
use crate::{CallError, Cluster, Code, Member, MemberStatus};

impl Cluster for ModelClient {
    fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    async fn barrier(&self, endpoint: &str) -> Result<(), CallError> {
        let (fault, node) = self.model.send(ModelCall::Barrier, endpoint, "").await?;
        if self.model.now().membership.is_learner(node) {
            return self.model.answer(fault, Err(self.model.not_for_learners())).await;
        }
        self.model.caught_up(node).await;
        self.model.answer(fault, Ok(())).await
    }

    async fn agreed_members(&self, endpoint: &str) -> Result<Option<Vec<Member>>, CallError> {
        if self.model.now().membership.release < Release::V3_5 {
            return Ok(None);
        }
        let (fault, node) = self.model.send(ModelCall::List, endpoint, "").await?;
        if self.model.now().membership.is_learner(node) {
            return self.model.answer(fault, Err(self.model.not_for_learners())).await;
        }
        self.model.caught_up(node).await;
        let members = self.model.now().membership.local(node);
        self.model.answer(fault, Ok(Some(members))).await
    }

    async fn local_members(&self, endpoint: &str) -> Result<Vec<Member>, CallError> {
        let (fault, node) = self.model.send(ModelCall::List, endpoint, "").await?;
        let learner = self.model.now().membership.is_learner(node);
        let members = self.model.now().membership.local(node);
        self.model.answer(fault, if learner { Err(self.model.not_for_learners()) } else { Ok(members) }).await
    }

    async fn add(&self, endpoint: &str, peer_urls: &[String], learner: bool) -> Result<u64, CallError> {
        self.model.change(ModelCall::Add, endpoint, Change::Add { peer_urls: peer_urls.to_vec(), learner }).await
    }

    async fn promote(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        self.model.change(ModelCall::Promote, endpoint, Change::Promote(id)).await.map(drop)
    }

    async fn remove(&self, endpoint: &str, id: u64) -> Result<(), CallError> {
        self.model.change(ModelCall::Remove, endpoint, Change::Remove(id)).await.map(drop)
    }

    async fn status(&self, endpoint: &str) -> Result<MemberStatus, CallError> {
        let (fault, node) = self.model.send(ModelCall::Status, endpoint, "").await?;
        let (leader, learner) = {
            let state = self.model.now();
            let leader = if state.membership.leads(node) { state.membership.leader() } else { 0 };
            (leader, state.membership.is_learner(node))
        };
        self.model.answer(fault, Ok(MemberStatus::new(node, leader, learner))).await
    }
}

pub(super) fn answered((code, message): (Code, &'static str)) -> CallError {
    CallError::Answered { code, message: message.to_owned() }
}
