/// Byte ranges of `struct __sk_buff`.
enum SocketBufferField {
  static let size: Int32 = 192
  static let mark: Range<Int32> = 8..<12
  static let queueMapping: Range<Int32> = 12..<16
  static let priority: Range<Int32> = 32..<36
  static let tcIndex: Range<Int32> = 44..<48
  static let controlBlock: Range<Int32> = 48..<68
  static let tcClassID: Range<Int32> = 72..<76
  static let data: Range<Int32> = 76..<80
  static let dataEnd: Range<Int32> = 80..<84
  /// `family` to `local_port`.
  static let socketFields: Range<Int32> = 88..<140
  static let remoteIP4: Range<Int32> = 92..<96
  static let localIP4: Range<Int32> = 96..<100
  static let remoteIP6: Range<Int32> = 100..<116
  static let localIP6: Range<Int32> = 116..<132
  static let dataMeta: Range<Int32> = 140..<144
  static let flowKeys: Range<Int32> = 144..<152
  static let timestamp: Range<Int32> = 152..<160
  static let wireLength: Range<Int32> = 160..<164
  static let socket: Range<Int32> = 168..<176
  static let timestampType: Int32 = 180
  static let padding: Range<Int32> = 181..<184
  static let hardwareTimestamp: Range<Int32> = 184..<192
}

/// The seven views that program types have of `struct __sk_buff`.
enum SocketBufferRules {
  private typealias Field = SocketBufferField

  /// What holds for every view; each adds its own refusals first.
  private static func common(_ request: ContextRequest, _ packet: RegisterType = .scalar) -> ContextAccess? {
    guard request.lies(in: Field.size), request.isAligned else { return nil }
    switch request.offset {
    case Field.controlBlock:
      return request.offset + request.size <= Field.controlBlock.upperBound ? ContextAccess() : nil
    case Field.data, Field.dataMeta, Field.dataEnd:
      return request.signExtending ? nil : request.exactly(4, packet)
    case Field.remoteIP6, Field.localIP6, Field.remoteIP4, Field.localIP4:
      return request.exactly(4)
    case Field.hardwareTimestamp:
      return request.isWrite ? nil : request.exactly(8)
    case Field.timestamp:
      return request.exactly(8)
    case Field.socket:
      return request.isWrite ? nil : request.exactly(8, .sockCommon | .mayBeNull)
    case Field.flowKeys, Field.timestampType, Field.padding:
      return nil
    default:
      return request.isWrite ? request.exactly(4) : request.narrow(4)
    }
  }

  /// The pointer that a load of `data` or `data_end` makes.
  private static func packetPointer(_ offset: Int32) -> RegisterType {
    switch offset {
    case Field.data: .packet
    case Field.dataEnd: .packetEnd
    default: .scalar
    }
  }

  static func socketFilter(_ request: ContextRequest) -> ContextAccess? {
    switch request.offset {
    case Field.tcClassID, Field.data, Field.dataMeta, Field.dataEnd, Field.socketFields, Field.timestamp,
      Field.wireLength, Field.hardwareTimestamp:
      return nil
    default:
      if request.isWrite, !Field.controlBlock.contains(request.offset) { return nil }
      return common(request)
    }
  }

  static func cgroup(_ request: ContextRequest, bpfCapable: Bool) -> ContextAccess? {
    switch request.offset {
    case Field.tcClassID, Field.dataMeta, Field.wireLength: return nil
    case Field.data, Field.dataEnd: if !bpfCapable { return nil }
    default: break
    }
    if request.isWrite {
      switch request.offset {
      case Field.mark, Field.priority, Field.controlBlock: break
      case Field.timestamp: if !bpfCapable { return nil }
      default: return nil
      }
    }
    return common(request, packetPointer(request.offset))
  }

  static func lightweightTunnel(_ request: ContextRequest) -> ContextAccess? {
    switch request.offset {
    case Field.tcClassID, Field.socketFields, Field.dataMeta, Field.timestamp, Field.wireLength,
      Field.hardwareTimestamp:
      return nil
    default: break
    }
    if request.isWrite {
      switch request.offset {
      case Field.mark, Field.priority, Field.controlBlock: break
      default: return nil
      }
    }
    return common(request, packetPointer(request.offset))
  }

  static func trafficControl(_ request: ContextRequest) -> ContextAccess? {
    if request.isWrite {
      switch request.offset {
      case Field.mark, Field.tcIndex, Field.priority, Field.tcClassID, Field.controlBlock, Field.timestamp,
        Field.queueMapping:
        break
      default: return nil
      }
    }
    switch request.offset {
    case Field.dataMeta:
      return common(request, .packetMeta)
    case Field.socketFields:
      return nil
    case Field.timestampType:
      var result = request.exactly(1)
      result?.usesTimestampType = true
      return result
    default:
      return common(request, packetPointer(request.offset))
    }
  }

  static func streamParser(_ request: ContextRequest) -> ContextAccess? {
    switch request.offset {
    case Field.tcClassID, Field.dataMeta, Field.timestamp, Field.wireLength, Field.hardwareTimestamp, Field.mark:
      return nil
    default: break
    }
    if request.isWrite {
      switch request.offset {
      case Field.tcIndex, Field.priority: break
      default: return nil
      }
    }
    return common(request, packetPointer(request.offset))
  }

  static func flowDissector(_ request: ContextRequest) -> ContextAccess? {
    guard request.lies(in: Field.size), request.isAligned, request.isRead else { return nil }
    switch request.offset {
    case Field.data, Field.dataEnd:
      return request.signExtending ? nil : request.exactly(4, packetPointer(request.offset))
    case Field.flowKeys:
      return request.exactly(8, .flowKeys)
    default:
      return nil
    }
  }
}
