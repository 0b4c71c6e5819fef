/// The code of a program while it is made: bytes, and between them jumps and calls whose lengths are not known yet.
struct CodeLayout {
  enum Kind: UInt8 {
    case jump, conditionalJump
    /// `target` is a function's label.
    case call
    /// The address of `target` into a register (`argument`).
    case address
    /// As many bytes as make the next instruction begin at a multiple of 16.
    case align
    /// The bytes of a snippet (`target`): prologues and epilogues, which are known last.
    case snippet
  }

  struct Item: BitwiseCopyable {
    /// Bytes before it.
    var position: Int32
    var kind: Kind
    var argument: UInt8
    var target: Int32
    var size: Int32
    var isLong = false
  }

  struct Label: BitwiseCopyable {
    var position: Int32 = -1
    /// Items before it.
    var item: Int32 = 0
  }

  /// Whose instructions these are.
  enum Architecture { case x64, arm64 }

  let architecture: Architecture
  var bytes = Pool<UInt8>(capacity: 4096)
  private(set) var items = Pool<Item>(capacity: 256)
  private(set) var labels = Pool<Label>(capacity: 256)
  /// Snippets, by number: where their bytes lie in `snippetBytes`.
  private var snippets: [[UInt8]] = []

  init(_ architecture: Architecture) { self.architecture = architecture }

  func release() {
    bytes.release()
    items.release()
    labels.release()
  }

  mutating func makeLabels(_ count: Int) -> Int32 {
    let first = Int32(labels.count)
    labels.append(repeating: Label(), count: count)
    return first
  }

  func define(_ label: Int32) {
    labels[label] = Label(position: Int32(bytes.count), item: Int32(items.count))
  }

  mutating func append(_ kind: Kind, target: Int32 = -1, argument: UInt8 = 0) {
    let isX64 = architecture == .x64
    let size: Int32 =
      switch kind {
      case .jump, .conditionalJump: isX64 ? 2 : 4
      case .call: isX64 ? 5 : 4
      case .address: isX64 ? 7 : 8
      case .align, .snippet: 0
      }
    items.append(Item(position: Int32(bytes.count), kind: kind, argument: argument, target: target, size: size))
  }

  mutating func makeSnippet() -> Int32 {
    snippets.append([])
    return Int32(snippets.count - 1)
  }

  mutating func setSnippet(_ number: Int32, _ bytes: [UInt8]) { snippets[Int(number)] = bytes }

  /// Final place of each item; the last entry is that of the end.
  private var places = Pool<Int32>()

  /// Chooses the lengths of jumps. Returns how long the code is.
  mutating func settle() -> Int {
    for index in 0..<items.count where items[index].kind == .snippet {
      items[index].size = Int32(snippets[Int(items[index].target)].count)
    }
    places = Pool(repeating: 0, count: items.count + 1)
    var round = 0
    while true {
      var grown: Int32 = 0
      for index in 0..<items.count {
        places[index] = items[index].position + grown
        if items[index].kind == .align { items[index].size = (0 &- places[index]) & 15 }
        grown += items[index].size
      }
      places[items.count] = Int32(bytes.count) + grown
      var changed = false
      for index in 0..<items.count where !items[index].isLong {
        let item = items[index]
        guard item.kind == .jump || item.kind == .conditionalJump else { continue }
        if architecture == .arm64 && item.kind == .jump { continue }
        let distance = place(of: item.target) - (places[index] + item.size)
        // From the third round on nothing that padding moves may come too close again.
        let reach: Int32 = architecture == .arm64 ? (1 << 20) - 4096 : round < 3 ? 127 : 96
        if distance > reach || distance < -reach - 1 {
          items[index].isLong = true
          items[index].size = architecture == .arm64 ? 8 : item.kind == .jump ? 5 : 6
          changed = true
        }
      }
      round += 1
      if !changed { return Int(places[items.count]) }
    }
  }

  /// Where a label ends up, from the start of the code.
  func place(of label: Int32) -> Int32 {
    let it = labels[label]
    if it.item == 0 { return it.position }
    let before = items[it.item - 1]
    return places[it.item - 1] + before.size + (it.position - before.position)
  }

  /// Writes the code to `memory`, which begins at a page.
  func write(to memory: UnsafeMutablePointer<UInt8>) {
    switch architecture {
    case .x64: writeX64(to: memory)
    case .arm64: writeARM64(to: memory)
    }
  }

  /// The lowest `bits` bits.
  private func field(_ value: Int32, _ bits: Int32) -> UInt32 {
    UInt32(bitPattern: value) & ((1 << UInt32(bits)) - 1)
  }

  /// All instructions are words; jumps count from where they stand.
  private func writeARM64(to memory: UnsafeMutablePointer<UInt8>) {
    var source = 0
    var out = memory
    func copy(upTo position: Int) {
      out.update(from: bytes.base + source, count: position - source)
      out += position - source
      source = position
    }
    func word(_ value: UInt32) {
      UnsafeMutableRawPointer(out).storeBytes(of: value.littleEndian, as: UInt32.self)
      out += 4
    }
    for index in 0..<items.count {
      let item = items[index]
      copy(upTo: Int(item.position))
      let here = places[index]
      switch item.kind {
      case .jump: word(0x1400_0000 | field((place(of: item.target) - here) >> 2, 26))
      case .conditionalJump:
        if item.isLong {
          word(0x5400_0000 | 2 << 5 | UInt32(item.argument ^ 1))
          word(0x1400_0000 | field((place(of: item.target) - here - 4) >> 2, 26))
        } else {
          word(0x5400_0000 | field((place(of: item.target) - here) >> 2, 19) << 5 | UInt32(item.argument))
        }
      case .call: word(0x9400_0000 | field((place(of: item.target) - here) >> 2, 26))
      case .address:
        let target = place(of: item.target)
        let pages = (target >> 12) - (here >> 12)
        let to = UInt32(item.argument)
        word(0x9000_0000 | field(pages & 3, 2) << 29 | field(pages >> 2, 19) << 5 | to)
        word(0x9100_0000 | field(target & 0xfff, 12) << 10 | to << 5 | to)
      case .align: for _ in 0..<item.size / 4 { word(0xd503_201f) }
      case .snippet:
        for byte in snippets[Int(item.target)] {
          out.pointee = byte
          out += 1
        }
      }
    }
    copy(upTo: bytes.count)
  }

  private func writeX64(to memory: UnsafeMutablePointer<UInt8>) {
    var source = 0
    var out = memory
    func copy(upTo position: Int) {
      out.update(from: bytes.base + source, count: position - source)
      out += position - source
      source = position
    }
    func word(_ value: Int32) {
      UnsafeMutableRawPointer(out).storeBytes(of: value, as: Int32.self)
      out += 4
    }
    for index in 0..<items.count {
      let item = items[index]
      copy(upTo: Int(item.position))
      let end = places[index] + item.size
      switch item.kind {
      case .jump, .conditionalJump:
        let distance = place(of: item.target) - end
        if item.isLong {
          if item.kind == .jump {
            out.pointee = 0xe9
          } else {
            out.pointee = 0x0f
            out += 1
            out.pointee = 0x80 | item.argument
          }
          out += 1
          word(distance)
        } else {
          out.pointee = item.kind == .jump ? 0xeb : 0x70 | item.argument
          out[1] = UInt8(truncatingIfNeeded: distance)
          out += 2
        }
      case .call:
        out.pointee = 0xe8
        out += 1
        word(place(of: item.target) - end)
      case .address:
        out.pointee = 0x48 | (item.argument >> 3) << 2
        out[1] = 0x8d
        out[2] = (item.argument & 7) << 3 | 5
        out += 3
        word(place(of: item.target) - end)
      case .align:
        CodeLayout.fill(out, Int(item.size))
        out += Int(item.size)
      case .snippet:
        for byte in snippets[Int(item.target)] {
          out.pointee = byte
          out += 1
        }
      }
    }
    copy(upTo: bytes.count)
  }

  /// Instructions that do nothing.
  private static func fill(_ at: UnsafeMutablePointer<UInt8>, _ count: Int) {
    let forms: [[UInt8]] = [
      [], [0x90], [0x66, 0x90], [0x0f, 0x1f, 0x00], [0x0f, 0x1f, 0x40, 0x00], [0x0f, 0x1f, 0x44, 0x00, 0x00],
      [0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00], [0x0f, 0x1f, 0x80, 0, 0, 0, 0], [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
    ]
    var at = at
    var left = count
    while left > 0 {
      let form = forms[min(left, 8)]
      for byte in form {
        at.pointee = byte
        at += 1
      }
      left -= form.count
    }
  }
}
