import BPFLinux

// Test runs of programs that take packets.

extension TestRun {
  static let socketBufferSize = 192
  static let metadataSize = 24
  static let maximumSocketBuffer = pageSize - SocketBufferContext.headroom - SocketBufferContext.tailroom
  private static let maximumMetadata = 252
  private static let maximumBatch = 256

  // MARK: XDP

  func runXDP(_ input: Input, _ body: Body) -> Output {
    let isLive = input.flags & Flag.liveFrames != 0
    guard attachType != .xdpDevmap, attachType != .xdpCpumap, input.flags & ~Flag.liveFrames == 0 else {
      return .refused(.EINVAL)
    }
    guard isLive || input.batchSize == 0 else { return .refused(.EINVAL) }
    guard !isLive || input.batchSize <= Self.maximumBatch else { return .refused(.E2BIG) }
    var context: [UInt8]?
    do throws(Errno) {
      context = try givenContext(input, size: Self.metadataSize)
    } catch {
      return .refused(error)
    }
    let size = input.data.count
    var linear = size
    var metadata = 0
    if let context {
      let end = Int(context.word(4))
      let start = Int(context.word(0))
      guard context.word(8) == 0, end <= size, start <= end,
        !isLive || input.dataCapacity == 0 && input.contextCapacity == 0
      else { return .refused(.EINVAL) }
      guard start & 3 == 0, start <= min(Self.maximumMetadata, XDPContext.headroom - XDPContext.frameHeader) else {
        return .refused(.EINVAL)
      }
      metadata = start
      linear = end
    }
    linear = min(linear, XDPContext.maximumLinearSize + metadata)
    guard size - metadata >= Self.ethernetHeader else { return .refused(.EINVAL) }
    // Frames that really travel need a network behind them.
    guard !isLive else { return .refused(.EOPNOTSUPP) }
    var ingress = NetworkInterface.loopback
    if let context {
      guard context.word(20) == 0, context.word(12) != 0 || context.word(16) == 0 else { return .refused(.EINVAL) }
      if context.word(12) != 0 {
        guard let found = interface(context.word(12)) else { return .refused(.ENODEV) }
        guard context.word(16) < found.receiveQueues else { return .refused(.EINVAL) }
        ingress = found
      }
    }
    let packet = xdpContext
    packet.ingressInterface = ingress.index
    packet.receiveQueue = context?.word(16) ?? 0
    packet.egressInterface = 0
    let isPlaced = input.data.withUnsafeBytes { packet.reset($0, metadata: metadata, linear: linear) }
    guard isPlaced else { return .refused(.ENOMEM) }
    var output = Output()
    measure(&output, input, packet, body)
    context?.put(UInt32(packet.metadataSize), at: 0)
    context?.put(UInt32(packet.linearBytes.count), at: 4)
    if finish(&output, input, packet.linearBytes, fragments: packet.fragmentBytes) {
      finishContext(&output, input, context)
    }
    return output
  }

  // MARK: Socket buffers

  /// Ranges of `struct __sk_buff` that must be zero: all but mark, priority, interfaces, cb, tstamp, wire_len,
  /// gso_segs, gso_size and hwtstamp.
  private static let zeroRanges = [0..<8, 12..<32, 44..<48, 68..<152, 168..<176, 180..<184]
  private static let maximumWireLength: UInt32 = 65536
  private static let maximumSegments: UInt32 = 65535

  func runSocketBuffer(_ input: Input, _ body: Body) -> Output {
    guard input.flags & ~Flag.checksumComplete == 0, input.cpu == 0, input.batchSize == 0,
      input.data.count >= Self.ethernetHeader, input.data.count <= Self.maximumSocketBuffer
    else { return .refused(.EINVAL) }
    var context: [UInt8]?
    do throws(Errno) {
      context = try givenContext(input, size: Self.socketBufferSize)
    } catch {
      return .refused(error)
    }
    var device = NetworkInterface.loopback
    if let index = context?.word(40), index > 1 {
      guard let found = interface(index) else { return .refused(.ENODEV) }
      device = found
    }
    guard hasNetworkHeader(input.data) else { return .refused(.EINVAL) }
    let buffer = socketBufferContext
    _ = input.data.withUnsafeBytes { buffer.reset($0, interface: device) }
    let packet = PacketBlock(buffer.block)
    if let context {
      guard fill(packet, from: context) else { return .refused(.EINVAL) }
    }
    let isTracked = input.flags & Flag.checksumComplete != 0
    if isTracked {
      packet.checksum = networkSum(packet)
      packet.checksumState = PacketBlock.Checksum.complete
    }
    var output = Output()
    measure(&output, input, buffer, body)
    var bytes = Array(buffer.packet)
    if !buffer.seesLinkHeader { bytes = [UInt8](repeating: 0, count: Self.ethernetHeader) + bytes }
    if isTracked,
      InternetChecksum.header(packet.checksum) != InternetChecksum.header(networkSum(packet))
    {
      return .refused(Errno(rawValue: 74))
    }
    if var given = context {
      read(packet, into: &given, device)
      context = given
    }
    if finish(&output, input, bytes) { finishContext(&output, input, context) }
    return output
  }

  /// Whether a frame that says that it is IP has room for IP's header.
  private func hasNetworkHeader(_ frame: [UInt8]) -> Bool { frame.withUnsafeBytes { hasNetworkHeader($0) } }

  func hasNetworkHeader(_ frame: UnsafeRawBufferPointer) -> Bool {
    switch (frame[12], frame[13]) {
    case (0x08, 0x00): frame.count >= Self.ethernetHeader + 20
    case (0x86, 0xdd): frame.count >= Self.ethernetHeader + 40
    default: true
    }
  }

  /// What the checksum of everything behind the link header is.
  private func networkSum(_ packet: PacketBlock) -> UInt32 {
    let start = location(packet.head) + packet.networkHeader
    let size = Int(truncatingIfNeeded: packet.dataEnd &- value(of: start))
    return size > 0 ? InternetChecksum.partial(start, size, 0) : 0
  }

  private func fill(_ packet: PacketBlock, from context: [UInt8]) -> Bool {
    guard Self.zeroRanges.allSatisfy({ context.isZero($0) }) else { return false }
    let wireLength = context.word(160)
    guard wireLength == 0 || wireLength >= packet.length && wireLength <= Self.maximumWireLength,
      context.word(164) <= Self.maximumSegments
    else { return false }
    context.withUnsafeBytes { source in
      guard let source = source.baseAddress else { return }
      func copy(_ range: Range<Int>) {
        (packet.base + range.lowerBound).copyMemory(from: source + range.lowerBound, byteCount: range.count)
      }
      for range in [8..<12, 32..<40, 48..<68, 152..<160, 164..<168, 184..<192] { copy(range) }
    }
    packet.store(160, wireLength == 0 ? packet.length : wireLength)
    packet.segments = packet.segments & 0xffff
    packet.segmentSize = context.word(176) & 0xffff
    return true
  }

  private func read(_ packet: PacketBlock, into context: inout [UInt8], _ device: NetworkInterface) {
    let base = UnsafeRawPointer(packet.base)
    context.withUnsafeMutableBytes { target in
      for range in [8..<12, 32..<40, 48..<68, 152..<160, 160..<164, 164..<168, 184..<192] {
        target[range].copyBytes(from: UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
      }
    }
    context.put(device.index, at: 40)
  }

  // MARK: Flow dissectors

  private static let keyFlags = 48

  func runFlowDissector(_ input: Input, _ body: Body) -> Output {
    guard input.flags == 0, input.cpu == 0, input.batchSize == 0, input.data.count >= Self.ethernetHeader,
      input.data.count <= Self.pageSize
    else { return .refused(.EINVAL) }
    var context: [UInt8]?
    do throws(Errno) {
      context = try givenContext(input, size: FlowDissectorContext.keySize)
    } catch {
      return .refused(error)
    }
    if let context {
      guard context.isZero(0..<Self.keyFlags), context.isZero(52..<56) else { return .refused(.EINVAL) }
    }
    let flags = context?.word(Self.keyFlags) ?? 0
    let flow = flowContext
    _ = input.data.withUnsafeBytes { flow.reset($0, flags: flags) }
    var output = Output()
    var total: UInt64 = 0
    let repeats = max(1, Int(input.repeats))
    for _ in 0..<repeats {
      flow.begin(flags: flags)
      let result = body(flow, 1)
      flow.finish()
      output.returnValue = UInt32(truncatingIfNeeded: result.value)
      total &+= result.nanosecondsPerRun
    }
    output.duration = UInt32(clamping: total / UInt64(repeats))
    if finish(&output, input, flow.flowKeys) { finishContext(&output, input, context) }
    return output
  }
}
