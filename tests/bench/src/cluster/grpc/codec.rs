//! Messages as they travel in gRPC: what Quicraft's codec makes of openraft's own types.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use openraft::raft::StreamAppendResult;
use quicraft_tests::raft::TypeConfig;
use quicraft_transport::raft::{Codec as _, CodecError, RaftCodec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// One answer on a stream of appends.
pub(super) type Answer = StreamAppendResult<TypeConfig>;

/// Sends `Out`, and takes `In`.
pub(super) struct Messages<Out, In>(PhantomData<fn(Out) -> In>);

impl<Out, In> Messages<Out, In> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Out, In> Codec for Messages<Out, In>
where
    Out: Serialize + Send + 'static,
    In: DeserializeOwned + Send + 'static,
{
    type Encode = Out;
    type Decode = In;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::new()
    }

    fn decoder(&mut self) -> Self {
        Self::new()
    }
}

impl<Out: Serialize, In> Encoder for Messages<Out, In> {
    type Item = Out;
    type Error = Status;

    fn encode(&mut self, item: Out, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let mut bytes = BytesMut::new();
        RaftCodec::encode(&item, &mut bytes).map_err(unusable)?;
        into.put(bytes);
        Ok(())
    }
}

impl<Out, In: DeserializeOwned> Decoder for Messages<Out, In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        RaftCodec::decode(&bytes).map(Some).map_err(unusable)
    }
}

fn unusable(error: CodecError) -> Status {
    Status::internal(error.to_string())
}
