/** The part of tfjs-node's generated messages that graphFile.ts uses; their package has no types. */
declare module '@tensorflow/tfjs-node-gpu/dist/proto/api_pb' {
  namespace proto {
    class AttrValue {
      setType(value: number): void;
      setB(value: boolean): void;
      setI(value: number): void;
      setF(value: number): void;
    }
    class NodeDef {
      setName(name: string): void;
      setOp(op: string): void;
      setInputList(inputs: string[]): void;
      getAttrMap(): { set(name: string, value: AttrValue): void };
    }
    class VersionDef {
      setProducer(version: number): void;
    }
    class GraphDef {
      setVersions(versions: VersionDef): void;
      addNode(node: NodeDef): void;
    }
    namespace MetaGraphDef {
      class MetaInfoDef {
        addTags(tag: string): void;
      }
    }
    class MetaGraphDef {
      setMetaInfoDef(info: MetaGraphDef.MetaInfoDef): void;
      setGraphDef(graph: GraphDef): void;
    }
    class SavedModel {
      setSavedModelSchemaVersion(version: number): void;
      addMetaGraphs(graph: MetaGraphDef): void;
      serializeBinary(): Uint8Array;
    }
  }
  export = proto;
}
