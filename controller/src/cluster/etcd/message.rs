//! The messages of etcd's gRPC API that the controller exchanges, with the fields that it reads and writes.

/// What every answer begins with.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    /// The cluster that answers.
    #[prost(uint64, tag = "1")]
    pub(super) cluster_id: u64,
    /// The member that answers.
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
}

/// A member.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Member {
    /// Its ID.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// Its name; none before it was started for the first time.
    #[prost(string, tag = "2")]
    pub(super) name: String,
    /// Where other members reach it.
    #[prost(string, repeated, tag = "3")]
    pub(super) peer_urls: Vec<String>,
    /// Whether it has no vote.
    #[prost(bool, tag = "5")]
    pub(super) is_learner: bool,
}

/// Asks for the members.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberListRequest {
    /// As a majority sees them.
    #[prost(bool, tag = "1")]
    pub(super) linearizable: bool,
}

/// The members; also the answer to changes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberListResponse {
    /// Who answers.
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    /// All members.
    #[prost(message, repeated, tag = "2")]
    pub(super) members: Vec<Member>,
}

/// Removes a member.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberRemoveRequest {
    /// Which one.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
}

/// Gives a member other addresses.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberUpdateRequest {
    /// Which one.
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// Where other members reach it from now on.
    #[prost(string, repeated, tag = "2")]
    pub(super) peer_urls: Vec<String>,
}

/// An answer of which nothing is read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Done {}

/// Asks a member how it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusRequest {}

/// How a member is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    /// Who answers.
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<Header>,
    /// Whom it takes for the leader; 0 if nobody.
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
    /// Whether it has no vote.
    #[prost(bool, tag = "10")]
    pub(super) is_learner: bool,
}
