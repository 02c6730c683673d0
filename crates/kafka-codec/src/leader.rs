//! Where the leader is now: what produce and fetch responses tell a client that asked the wrong broker (KIP-951).

use crate::wire::{self, Reader};
use crate::{DecodeError, EncodeError};

/// Leader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    /// Its broker id, -1 = not known.
    pub leader_id: i32,
    /// Its epoch, -1 = not known.
    pub leader_epoch: i32,
}

impl Default for LeaderIdAndEpoch {
    fn default() -> Self {
        Self { leader_id: -1, leader_epoch: -1 }
    }
}

impl LeaderIdAndEpoch {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let leader = Self { leader_id: r.i32()?, leader_epoch: r.i32()? };
        r.untagged()?;
        Ok(leader)
    }

    pub(crate) fn write(self, w: &mut Vec<u8>) {
        wire::put_i32(w, self.leader_id);
        wire::put_i32(w, self.leader_epoch);
        w.push(0);
    }
}

/// Address of a broker that is named as a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// Broker id.
    pub node_id: i32,
    /// Host name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: i32,
    /// Rack, if it has one.
    pub rack: Option<&'a str>,
}

/// Node id, host, port, rack, tagged fields.
const NODE_ENDPOINT_BYTES_MIN: usize = 11;

pub(crate) fn read_node_endpoints<'a>(r: &mut Reader<'a>) -> Result<Vec<NodeEndpoint<'a>>, DecodeError> {
    r.array(true, NODE_ENDPOINT_BYTES_MIN, |r| {
        let node = NodeEndpoint {
            node_id: r.i32()?,
            host: r.str(true)?,
            port: r.i32()?,
            rack: r.nullable_str(true)?,
        };
        r.untagged()?;
        Ok(node)
    })
}

pub(crate) fn write_node_endpoints(w: &mut Vec<u8>, nodes: &[NodeEndpoint<'_>]) -> Result<(), EncodeError> {
    wire::put_array(w, nodes, true, |w, node| {
        wire::put_i32(w, node.node_id);
        wire::put_string(w, node.host, true)?;
        wire::put_i32(w, node.port);
        wire::put_nullable_string(w, node.rack, true)?;
        w.push(0);
        Ok(())
    })
}
